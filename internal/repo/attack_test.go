package repo_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"hotpatch/internal/repo"
)

// The attacks of the TUF specification, §1.5.2, each as a test of its name.

// roleError wants a refusal that names role and file.
func roleError(t *testing.T, err error, is error, role, file string) {
	t.Helper()
	var e *repo.RoleError
	switch {
	case err == nil:
		t.Fatalf("no error, want %q", is)
	case !errors.Is(err, is):
		t.Errorf("error %q, want %q", err, is)
	case !errors.As(err, &e):
		t.Errorf("error %q names no role", err)
	case e.Role != role || e.File != file:
		t.Errorf("error %q is about %s (%s), want %s (%s)", err, e.Role, e.File, role, file)
	}
}

func targetOf(f *fixture, pattern string) string { return glob(f.t, f.public("targets/"+pattern)) }

func TestAttackArbitraryInstallation(t *testing.T) {
	ctx := context.Background()
	t.Run("changed target", func(t *testing.T) {
		f := newFixture(t)
		f.put("stable/bundles/a.hotpatch", "good")
		write(t, targetOf(f, "stable/bundles/*.a.hotpatch"), []byte("evil"))
		c := f.client(f.dir)
		refresh(t, c)
		file := filepath.Join(t.TempDir(), "a")
		wantError(t, c.Fetch(ctx, "stable/bundles/a.hotpatch", file), repo.ErrMismatch, "stable/bundles/a.hotpatch")
		if _, err := os.Stat(file); !errors.Is(err, os.ErrNotExist) {
			t.Error("a bad target got its name")
		}
		if left, _ := filepath.Glob(filepath.Join(filepath.Dir(file), ".*")); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	})
	t.Run("target signed by nobody", func(t *testing.T) {
		f := newFixture(t)
		c := f.client(f.dir)
		refresh(t, c)
		write(t, f.public("targets/stable/x"), []byte("evil"))
		wantError(t, c.Fetch(ctx, "stable/x", filepath.Join(t.TempDir(), "x")), repo.ErrNotTarget)
	})
	t.Run("metadata signed by a stranger", func(t *testing.T) {
		f := newFixture(t)
		f.put("stable/a", "good")
		generate(t, f.keys, "stranger")
		stamp := f.public("metadata/timestamp.json")
		for _, signers := range [][]string{{"stranger"}, {}, {"snapshot", "targets", "root"}} {
			evil := forge(f, stamp, func(s *metadata.TimestampType) { s.Version = 9 }, signers...)
			dir := f.copyPublic()
			write(t, filepath.Join(dir, "metadata/timestamp.json"), evil)
			roleError(t, f.client(dir).Refresh(ctx), repo.ErrSignature, "timestamp", "metadata/timestamp.json")
		}
	})
	t.Run("one key twice", func(t *testing.T) {
		f := newFixture(t)
		stamp := f.public("metadata/timestamp.json")
		var m map[string]any
		if err := json.Unmarshal(mustRead(t, stamp), &m); err != nil {
			t.Fatal(err)
		}
		sigs := m["signatures"].([]any)
		m["signatures"] = append(sigs, sigs[0])
		write(t, stamp, []byte(indent(t, m)))
		roleError(t, f.client(f.dir).Refresh(ctx), repo.ErrSignature, "timestamp", "metadata/timestamp.json")
	})
	t.Run("paths that lead elsewhere", func(t *testing.T) {
		f := newFixture(t)
		c := f.client(f.dir)
		refresh(t, c)
		for _, path := range []string{"../x", "stable/../x", "/etc/passwd", "stable/.x", "stable", "stable/a/b/c", "stable//x", "stable/a%2f", "stable/a\x00", ""} {
			if err := c.Fetch(ctx, path, filepath.Join(t.TempDir(), "x")); err == nil {
				t.Errorf("fetched %q", path)
			}
		}
	})
	t.Run("links that lead elsewhere", func(t *testing.T) {
		f := newFixture(t)
		f.put("stable/a", "good")
		name := targetOf(f, "stable/*.a")
		secret := filepath.Join(t.TempDir(), "secret")
		write(t, secret, []byte("good")) // it would even verify
		if err := errors.Join(os.Remove(name), os.Symlink(secret, name)); err != nil {
			t.Fatal(err)
		}
		c := f.client(f.dir)
		refresh(t, c)
		if err := c.Fetch(ctx, "stable/a", filepath.Join(t.TempDir(), "x")); err == nil {
			t.Error("followed a link out of the repository")
		}
	})
}

func TestAttackEndlessData(t *testing.T) {
	f := newFixture(t)
	f.put("stable/a", "good")
	dir := filepath.Join(f.dir, "public")
	endless := func(match string) *repo.Client {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !strings.Contains(r.URL.Path, match) {
				http.FileServer(http.Dir(dir)).ServeHTTP(w, r)
				return
			}
			junk := bytes.Repeat([]byte(" "), 1<<16)
			for sent := 0; sent < 1<<30; sent += len(junk) {
				if _, err := w.Write(junk); err != nil {
					return
				}
			}
			t.Error("all of it was read")
		}))
		t.Cleanup(srv.Close)
		return f.client(srv.URL)
	}
	ctx := context.Background()
	roleError(t, endless("timestamp.json").Refresh(ctx), repo.ErrTooLarge, "timestamp", "metadata/timestamp.json")
	roleError(t, endless("2.root.json").Refresh(ctx), repo.ErrTooLarge, "root", "metadata/2.root.json")
	roleError(t, endless("2.snapshot.json").Refresh(ctx), repo.ErrTooLarge, "snapshot", "metadata/2.snapshot.json")
	roleError(t, endless("2.stable.json").Refresh(ctx), repo.ErrTooLarge, "stable", "metadata/2.stable.json")
	c := endless("targets/stable")
	refresh(t, c)
	wantError(t, c.Fetch(ctx, "stable/a", filepath.Join(t.TempDir(), "a")), repo.ErrTooLarge, "stable/a")
}

func TestAttackEndlessRoots(t *testing.T) {
	f := newFixture(t)
	root := forge(f, f.repo.FirstRoot(), func(*metadata.RootType) {}, "root")
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var n int64
		if _, err := fmt.Sscanf(filepath.Base(r.URL.Path), "%d.root.json", &n); err != nil {
			http.NotFound(w, r)
			return
		}
		if n > 40 {
			_, _ = w.Write(root) // of version 1 again
			return
		}
		_, _ = w.Write(forge(f, f.repo.FirstRoot(), func(s *metadata.RootType) { s.Version = n }, "root"))
	}))
	defer srv.Close()
	roleError(t, f.client(srv.URL).Refresh(context.Background()), repo.ErrRollback, "root", "metadata/41.root.json")
}

// A stolen timestamp and snapshot key can count up to any version. Once they
// are replaced, the honest repository, with its small versions, is believed
// again.
func TestAttackFastForward(t *testing.T) {
	f := newFixture(t)
	f.put("stable/a", "good")
	evil := f.copyPublic()
	snap := forge(f, filepath.Join(evil, "metadata/2.snapshot.json"), func(s *metadata.SnapshotType) { s.Version = 1 << 40 }, "snapshot")
	write(t, filepath.Join(evil, "metadata/1099511627776.snapshot.json"), snap)
	stamp := forge(f, filepath.Join(evil, "metadata/timestamp.json"), func(s *metadata.TimestampType) {
		s.Version = 1 << 40
		s.Meta["snapshot.json"] = metaFileOf(1<<40, snap)
	}, "timestamp")
	write(t, filepath.Join(evil, "metadata/timestamp.json"), stamp)

	cache := t.TempDir()
	refresh(t, f.clientAt(evil, cache))
	honest := f.clientAt(f.dir, cache)
	roleError(t, honest.Refresh(context.Background()), repo.ErrRollback, "timestamp", "metadata/timestamp.json")

	for _, role := range []string{"timestamp", "snapshot"} {
		id := f.repo.RoleKeys()[map[string]int{"snapshot": 2, "timestamp": 3}[role]].Keys[0].ID
		edit := repo.KeyEdit{Role: role, Add: []repo.PublicKey{generate(t, f.keys, role+"-2")}, Revoke: []string{id}}
		if err := f.repo.EditKeys(edit, f.keys); err != nil {
			t.Fatal(err)
		}
	}
	refresh(t, honest)
	if got := read(honest, "stable/a"); got != "good" {
		t.Error(got)
	}
}

func TestAttackIndefiniteFreeze(t *testing.T) {
	f := newFixture(t)
	f.put("stable/a", "old")
	frozen := f.copyPublic()
	cache := t.TempDir()
	c := f.clientAt(frozen, cache)
	refresh(t, c)
	f.put("stable/a", "new")
	f.advance(23 * time.Hour)
	refresh(t, c)
	if got := read(c, "stable/a"); got != "old" {
		t.Fatal(got)
	}
	f.advance(2 * time.Hour)
	// Neither a new refresh nor what is in memory is believed any longer.
	roleError(t, c.Refresh(context.Background()), repo.ErrExpired, "timestamp", "metadata/timestamp.json")
	_, err := c.Read(context.Background(), "stable/a")
	wantError(t, err, repo.ErrExpired, "timestamp")
	if err := f.repo.Refresh(f.keys); err != nil {
		t.Fatal(err)
	}
	c = f.clientAt(f.dir, cache)
	refresh(t, c)
	if got := read(c, "stable/a"); got != "new" {
		t.Error(got)
	}
}

// Every role's expiry is a freeze of its own: a thief of the timestamp key
// cannot keep an old snapshot alive for ever, and so on upwards.
func TestAttackFreezeOfEachRole(t *testing.T) {
	for _, c := range []struct {
		after      time.Duration
		keep       []string // kept fresh meanwhile
		role, file string
	}{
		{15 * 24 * time.Hour, []string{"timestamp"}, "snapshot", "metadata/1.snapshot.json"},
		{91 * 24 * time.Hour, nil, "candidate", "metadata/1.candidate.json"},
		{181 * 24 * time.Hour, nil, "targets", "metadata/1.targets.json"},
		{366 * 24 * time.Hour, nil, "root", "metadata/1.root.json"},
	} {
		t.Run(c.role, func(t *testing.T) {
			f := newFixture(t)
			f.advance(c.after)
			if len(c.keep) == 1 {
				stamp := f.public("metadata/timestamp.json")
				write(t, stamp, forge(f, stamp, func(s *metadata.TimestampType) { s.Expires = f.now().Add(time.Hour) }, "timestamp"))
			} else if err := f.repo.Refresh(f.keys); err != nil {
				t.Fatal(err)
			}
			roleError(t, f.client(f.dir).Refresh(context.Background()), repo.ErrExpired, c.role, c.file)
		})
	}
}

// A mirror that says nothing, or nonsense, costs time and nothing else.
func TestAttackMaliciousMirrors(t *testing.T) {
	f := newFixture(t)
	f.put("stable/a", "good")
	cache := t.TempDir()
	c := f.clientAt(f.dir, cache)
	refresh(t, c)
	if got := read(c, "stable/a"); got != "good" {
		t.Fatal(got)
	}
	answers := map[string]http.HandlerFunc{
		"nothing":    http.NotFound,
		"error":      func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) },
		"a web page": func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>please log in</html>") },
		"json null":  func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "null") },
		"circles":    func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, r.URL.Path, http.StatusFound) },
	}
	for name, answer := range answers {
		t.Run(name, func(t *testing.T) {
			srv := httptest.NewServer(answer)
			defer srv.Close()
			bad := f.clientAt(srv.URL, cache)
			if err := bad.Refresh(context.Background()); err == nil {
				t.Fatal("believed")
			}
			if err := bad.Load(); err != nil {
				t.Fatal("what was known is lost:", err)
			}
			if got := read(bad, "stable/a"); got != "good" {
				t.Error(got)
			}
		})
	}
}

func TestAttackMixAndMatch(t *testing.T) {
	f := newFixture(t)
	ctx := context.Background()
	f.put("stable/a", "one")
	old := f.copyPublic()
	f.put("stable/a", "two")
	f.put("candidate/b", "three")
	for _, c := range []struct{ from, to, role string }{
		{"metadata/2.stable.json", "metadata/3.stable.json", "stable"},
		{"metadata/2.snapshot.json", "metadata/4.snapshot.json", "snapshot"},
		{"metadata/1.candidate.json", "metadata/2.candidate.json", "candidate"},
	} {
		mixed := f.copyPublic()
		write(t, filepath.Join(mixed, c.to), mustRead(t, filepath.Join(old, c.from)))
		roleError(t, f.client(mixed).Refresh(ctx), repo.ErrMismatch, c.role, c.to)
	}
	// A new timestamp over an old snapshot: a reader that got half of an upload.
	mixed := f.copyPublic()
	if err := os.Remove(filepath.Join(mixed, "metadata/4.snapshot.json")); err != nil {
		t.Fatal(err)
	}
	roleError(t, f.client(mixed).Refresh(ctx), repo.ErrNotFound, "snapshot", "metadata/4.snapshot.json")
}

func TestAttackRollback(t *testing.T) {
	ctx := context.Background()
	t.Run("timestamp", func(t *testing.T) {
		f := newFixture(t)
		f.put("stable/a", "old")
		old := f.copyPublic()
		f.put("stable/a", "new")
		cache := t.TempDir()
		refresh(t, f.clientAt(f.dir, cache))
		c := f.clientAt(old, cache)
		roleError(t, c.Refresh(ctx), repo.ErrRollback, "timestamp", "metadata/timestamp.json")
		if err := c.Load(); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("snapshot by a thief of the timestamp key", func(t *testing.T) {
		f := newFixture(t)
		f.put("stable/a", "old")
		old := mustRead(t, f.public("metadata/2.snapshot.json"))
		f.put("stable/a", "new")
		cache := t.TempDir()
		refresh(t, f.clientAt(f.dir, cache))
		evil := f.copyPublic()
		stamp := forge(f, filepath.Join(evil, "metadata/timestamp.json"), func(s *metadata.TimestampType) {
			s.Version = 99
			s.Meta["snapshot.json"] = metaFileOf(2, old)
		}, "timestamp")
		write(t, filepath.Join(evil, "metadata/timestamp.json"), stamp)
		roleError(t, f.clientAt(evil, cache).Refresh(ctx), repo.ErrRollback, "timestamp", "metadata/timestamp.json")
	})
	t.Run("channel by a thief of the snapshot and timestamp keys", func(t *testing.T) {
		f := newFixture(t)
		f.put("stable/a", "old")
		f.put("stable/a", "new")
		cache := t.TempDir()
		refresh(t, f.clientAt(f.dir, cache))
		evil := f.copyPublic()
		snap := forge(f, filepath.Join(evil, "metadata/3.snapshot.json"), func(s *metadata.SnapshotType) {
			s.Version = 4
			s.Meta["stable.json"] = metaFileOf(2, mustRead(t, f.public("metadata/2.stable.json")))
		}, "snapshot")
		write(t, filepath.Join(evil, "metadata/4.snapshot.json"), snap)
		stamp := forge(f, filepath.Join(evil, "metadata/timestamp.json"), func(s *metadata.TimestampType) {
			s.Version = 99
			s.Meta["snapshot.json"] = metaFileOf(4, snap)
		}, "timestamp")
		write(t, filepath.Join(evil, "metadata/timestamp.json"), stamp)
		roleError(t, f.clientAt(evil, cache).Refresh(ctx), repo.ErrRollback, "snapshot", "metadata/4.snapshot.json")
	})
	t.Run("root", func(t *testing.T) {
		f := newFixture(t)
		before := f.copyPublic()
		id := f.repo.RoleKeys()[3].Keys[0].ID
		edit := repo.KeyEdit{Role: "timestamp", Add: []repo.PublicKey{generate(t, f.keys, "timestamp-2")}, Revoke: []string{id}}
		if err := f.repo.EditKeys(edit, f.keys); err != nil {
			t.Fatal(err)
		}
		cache := t.TempDir()
		refresh(t, f.clientAt(f.dir, cache))
		// The old key's holder serves the time before the revocation.
		stamp := forge(f, filepath.Join(before, "metadata/timestamp.json"), func(s *metadata.TimestampType) { s.Version = 99 }, "timestamp")
		write(t, filepath.Join(before, "metadata/timestamp.json"), stamp)
		roleError(t, f.clientAt(before, cache).Refresh(ctx), repo.ErrSignature, "timestamp", "metadata/timestamp.json")
		refresh(t, f.client(before)) // a new client could not know
	})
}

func TestAttackSlowRetrieval(t *testing.T) {
	f := newFixture(t)
	f.put("stable/a", strings.Repeat("good", 1000))
	dir := filepath.Join(f.dir, "public")
	var slow string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if slow == "" || !strings.Contains(r.URL.Path, slow) {
			http.FileServer(http.Dir(dir)).ServeHTTP(w, r)
			return
		}
		for { // a byte now and then
			if _, err := w.Write([]byte(" ")); err != nil {
				return
			}
			w.(http.Flusher).Flush()
			select {
			case <-time.After(20 * time.Millisecond):
			case <-r.Context().Done():
				return
			}
		}
	}))
	defer srv.Close()
	c := f.client(srv.URL)
	refresh(t, c)
	slow = "targets/stable"
	began := time.Now()
	wantError(t, c.Fetch(context.Background(), "stable/a", filepath.Join(t.TempDir(), "a")), repo.ErrSlow)
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("gave up after %s", took)
	}
	slow = "timestamp"
	wantError(t, c.Refresh(context.Background()), repo.ErrSlow, "timestamp")
}

func TestAttackSilentServer(t *testing.T) {
	f := newFixture(t)
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	defer srv.Close()
	defer srv.CloseClientConnections()
	wantError(t, f.client(srv.URL).Refresh(context.Background()), repo.ErrSlow)
}

// What each stolen key can do, and what not.
func TestAttackKeyCompromise(t *testing.T) {
	ctx := context.Background()
	t.Run("channel key signs for another channel", func(t *testing.T) {
		f := newFixture(t)
		evil := sealed(t, f, "candidate", func(s *metadata.TargetsType) {
			s.Targets["stable/x"] = targetFileOf([]byte("evil"))
		})
		roleError(t, f.client(evil).Refresh(ctx), repo.ErrMalformed, "candidate", "metadata/2.candidate.json")
	})
	t.Run("channel key delegates", func(t *testing.T) {
		f := newFixture(t)
		evil := sealed(t, f, "candidate", func(s *metadata.TargetsType) {
			s.Delegations = &metadata.Delegations{Keys: map[string]*metadata.Key{}, Roles: []metadata.DelegatedRole{}}
		})
		roleError(t, f.client(evil).Refresh(ctx), repo.ErrMalformed, "candidate", "metadata/2.candidate.json")
	})
	t.Run("snapshot and timestamp keys alone publish nothing", func(t *testing.T) {
		f := newFixture(t)
		evil := sealed(t, f, "stable", func(s *metadata.TargetsType) {
			s.Targets["stable/x"] = targetFileOf([]byte("evil"))
		}, "snapshot")
		roleError(t, f.client(evil).Refresh(ctx), repo.ErrSignature, "stable", "metadata/2.stable.json")
	})
	t.Run("one of two root keys", func(t *testing.T) {
		f := newFixture(t)
		second := generate(t, f.keys, "root-2")
		edit := repo.KeyEdit{Role: "root", Add: []repo.PublicKey{second}, Threshold: 2}
		if err := f.repo.EditKeys(edit, f.keys); err != nil {
			t.Fatal(err)
		}
		c := f.client(f.dir)
		refresh(t, c)
		evil := f.copyPublic()
		root := forge(f, filepath.Join(evil, "metadata/2.root.json"), func(s *metadata.RootType) { s.Version = 3 }, "root")
		write(t, filepath.Join(evil, "metadata/3.root.json"), root)
		roleError(t, f.client(evil).Refresh(ctx), repo.ErrSignature, "root", "metadata/3.root.json")
	})
}

func TestAttackWrongSoftwareInstallation(t *testing.T) {
	f := newFixture(t)
	f.put("stable/a", "aaaa")
	f.put("stable/b", "bbbb")
	// Another good target of the same repository under the wanted one's name.
	write(t, targetOf(f, "stable/*.a"), mustRead(t, targetOf(f, "stable/*.b")))
	c := f.client(f.dir)
	refresh(t, c)
	wantError(t, c.Fetch(context.Background(), "stable/a", filepath.Join(t.TempDir(), "a")), repo.ErrMismatch, "stable/a")
}

// sealed is a copy of the repository in which a thief of a channel's, the
// snapshot and the timestamp key changed the channel. signer signs the channel
// instead of its own key.
func sealed(t *testing.T, f *fixture, channel string, change func(*metadata.TargetsType), signer ...string) string {
	t.Helper()
	dir := f.copyPublic()
	if len(signer) == 0 {
		signer = []string{channel}
	}
	m := forge(f, filepath.Join(dir, "metadata/1."+channel+".json"), func(s *metadata.TargetsType) { s.Version++; change(s) }, signer...)
	write(t, filepath.Join(dir, "metadata/2."+channel+".json"), m)
	snap := forge(f, filepath.Join(dir, "metadata/1.snapshot.json"), func(s *metadata.SnapshotType) {
		s.Version = 2
		s.Meta[channel+".json"] = metaFileOf(2, m)
	}, "snapshot")
	write(t, filepath.Join(dir, "metadata/2.snapshot.json"), snap)
	stamp := forge(f, filepath.Join(dir, "metadata/timestamp.json"), func(s *metadata.TimestampType) {
		s.Version = 2
		s.Meta["snapshot.json"] = metaFileOf(2, snap)
	}, "timestamp")
	write(t, filepath.Join(dir, "metadata/timestamp.json"), stamp)
	return dir
}
