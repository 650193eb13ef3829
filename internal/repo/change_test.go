package repo_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"hotpatch/internal/repo"
)

type killed struct{ at string }

// TestKilledAtEveryStep stops a publication before each file that gets its
// name, as a SIGKILL would. A client then sees the old state or the new one,
// whole, and the next command finishes or clears away.
func TestKilledAtEveryStep(t *testing.T) {
	change := map[string]func(*fixture) error{
		"publish": func(f *fixture) error { return f.repo.PutTarget("stable/a", []byte("new"), f.keys) },
		"refresh": func(f *fixture) error { return f.repo.Refresh(f.keys) },
		"rotate timestamp key": func(f *fixture) error {
			old := f.repo.RoleKeys()[3].Keys[0].ID
			return f.repo.EditKeys(repo.KeyEdit{Role: "timestamp", Add: []repo.PublicKey{generate(f.t, f.keys, "timestamp-2")}, Revoke: []string{old}}, f.keys)
		},
		"rotate targets key": func(f *fixture) error {
			old := f.repo.RoleKeys()[1].Keys[0].ID
			return f.repo.EditKeys(repo.KeyEdit{Role: "targets", Add: []repo.PublicKey{generate(f.t, f.keys, "targets-2")}, Revoke: []string{old}}, f.keys)
		},
		"rotate channel key": func(f *fixture) error {
			old := f.repo.RoleKeys()[5].Keys[0].ID
			return f.repo.EditKeys(repo.KeyEdit{Role: "stable", Add: []repo.PublicKey{generate(f.t, f.keys, "stable-2")}, Revoke: []string{old}}, f.keys)
		},
	}
	for name, do := range change {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			base := newFixture(t)
			base.put("stable/a", "old")
			base.repo.Close()
			seen := t.TempDir()
			refresh(t, base.clientAt(base.dir, seen))
			steps := 0
			for done := false; !done; steps++ {
				f, cache := base.fork(), filepath.Join(t.TempDir(), "cache")
				if err := os.CopyFS(cache, os.DirFS(seen)); err != nil {
					t.Fatal(err)
				}
				at := dieAt(t, f, steps, do)
				done = at == ""
				for _, c := range []*repo.Client{f.clientAt(f.dir, cache), f.client(f.dir)} {
					if err := c.Refresh(context.Background()); err != nil {
						t.Fatalf("killed before %q: %v", at, err)
					}
					if got := read(c, "stable/a"); got != "old" && (got != "new" || name != "publish") {
						t.Errorf("killed before %q: %s", at, got)
					}
				}
				f.reopen()
				f.put("candidate/b", "after")
				c := f.clientAt(f.dir, cache)
				refresh(t, c)
				if got := read(c, "candidate/b"); got != "after" {
					t.Errorf("killed before %q, then published: %s", at, got)
				}
				for _, left := range []string{"pending", "pending.new", "writing", "writing.new"} {
					if _, err := os.Lstat(filepath.Join(f.dir, left)); !errors.Is(err, os.ErrNotExist) {
						t.Errorf("killed before %q: %s is left", at, left)
					}
				}
			}
			if steps < 4 {
				t.Errorf("only %d steps were hit", steps)
			}
		})
	}
}

// dieAt does something and dies before its nth step; "" when it has no so many.
func dieAt(t *testing.T, f *fixture, n int, do func(*fixture) error) (at string) {
	t.Helper()
	defer func() {
		if k, ok := recover().(killed); ok {
			at = k.at
			// A change that was staged but not yet final is given up, as a
			// person would on finding it.
			f.repo.Close()
			if _, err := os.Lstat(filepath.Join(f.dir, "pending")); err == nil {
				r, err := repo.Load(f.dir, f.now)
				if err != nil {
					t.Fatalf("killed before %q: %v", at, err)
				}
				if _, err := r.Discard(); err != nil {
					t.Fatalf("killed before %q: %v", at, err)
				}
				r.Close()
			}
		}
	}()
	i := 0
	f.repo.SetStep(func(name string) error {
		if i == n {
			panic(killed{fmt.Sprintf("%d: %s", i, name)})
		}
		i++
		return nil
	})
	if err := do(f); err != nil {
		t.Fatal(err)
	}
	f.repo.SetStep(nil)
	return ""
}

// Where the old key is lost, the new root has to come first: clients refuse
// for that moment, and are right again afterwards.
func TestLostTimestampKeyIsReplaced(t *testing.T) {
	f := newFixture(t)
	f.put("stable/a", "old")
	cache := t.TempDir()
	refresh(t, f.clientAt(f.dir, cache))
	if err := os.Remove(filepath.Join(f.keys.Dir(), "timestamp.key")); err != nil {
		t.Fatal(err)
	}
	f.keys = openKeys(t, f.keys.Dir())
	var p *repo.Pending
	if err := f.repo.Refresh(f.keys); !errors.As(err, &p) || p.Missing[0].Role != "timestamp" {
		t.Fatalf("refreshed without a key: %v", err)
	}
	old := f.repo.RoleKeys()[3].Keys[0].ID
	edit := repo.KeyEdit{Role: "timestamp", Add: []repo.PublicKey{generate(t, f.keys, "timestamp-2")}, Revoke: []string{old}}
	if err := f.repo.EditKeys(edit, f.keys); err != nil {
		t.Fatal(err)
	}
	c := f.clientAt(f.dir, cache)
	refresh(t, c)
	if got := read(c, "stable/a"); got != "old" {
		t.Error(got)
	}
}

func TestSeveralHoldersSignOneAfterAnother(t *testing.T) {
	dir, clk := filepath.Join(t.TempDir(), "repo"), &clock{t: start}
	alice, bob := openKeys(t, filepath.Join(t.TempDir(), "alice")), openKeys(t, filepath.Join(t.TempDir(), "bob"))
	online := openKeys(t, filepath.Join(t.TempDir(), "online"))
	s := repo.Setup{Name: "test", Channels: []string{"stable"}, Thresholds: map[string]int{"root": 2}, Keys: map[string][]repo.PublicKey{
		"root": {generate(t, alice, "alice"), generate(t, bob, "bob")},
	}}
	s.Keys["targets"] = []repo.PublicKey{s.Keys["root"][0]}
	for _, role := range []string{"snapshot", "timestamp", "stable"} {
		s.Keys[role] = []repo.PublicKey{generate(t, online, role)}
	}
	r, err := repo.Create(dir, s, online, clk.now)
	var p *repo.Pending
	if !errors.As(err, &p) || len(p.Missing) != 2 {
		t.Fatalf("created with %v, want signatures missing of root and targets", err)
	}
	wantError(t, r.Refresh(online), nil, "first root")

	// Alice has the repository's directory, Bob gets one file.
	if _, err := r.Sign(alice); !errors.As(err, &p) || len(p.Missing) != 1 || p.Missing[0].Have != 1 {
		t.Fatalf("after alice: %v", err)
	}
	carried := filepath.Join(t.TempDir(), "root.json")
	write(t, carried, mustRead(t, filepath.Join(dir, "pending/root.json")))
	if n, err := repo.SignFile(carried, bob); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	if n, err := r.Import(carried); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	if n, err := r.Import(carried); n != 0 || err != nil {
		t.Fatal("imported again:", n, err)
	}
	if _, err := r.Sign(online); err != nil {
		t.Fatal(err)
	}
	r.Close()
	f := &fixture{t: t, dir: dir, clock: clk, repo: r}
	refresh(t, f.client(dir))
}

func TestImportTakesNoForeignSignature(t *testing.T) {
	f := newFixture(t)
	second := generate(t, openKeys(t, filepath.Join(t.TempDir(), "other")), "second")
	err := f.repo.EditKeys(repo.KeyEdit{Role: "root", Add: []repo.PublicKey{second}, Threshold: 2}, f.keys)
	var p *repo.Pending
	if !errors.As(err, &p) {
		t.Fatal(err)
	}
	wantError(t, f.repo.PutTarget("stable/a", nil, f.keys), nil, "another change waits")
	if err := f.repo.Refresh(f.keys); err != nil {
		t.Errorf("a waiting change stops the refresh: %v", err)
	}
	carried := filepath.Join(t.TempDir(), "root.json")
	write(t, carried, mustRead(t, filepath.Join(f.dir, "pending/root.json")))
	stranger := openKeys(t, filepath.Join(t.TempDir(), "stranger"))
	generate(t, stranger, "stranger")
	if n, err := repo.SignFile(carried, stranger); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	if n, err := f.repo.Import(carried); n != 0 || err != nil {
		t.Errorf("took %d signatures of a stranger, %v", n, err)
	}
	if what, err := f.repo.Discard(); err != nil || what != "change the keys of root" {
		t.Error(what, err)
	}
	f.put("stable/a", "again")
}

func TestTwoPublishersDoNotMeet(t *testing.T) {
	f := newFixture(t)
	_, err := repo.Load(f.dir, f.now)
	wantError(t, err, nil, "another hotpatch is at work")
}
