package repo_test

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"hotpatch/internal/repo"
)

const passphrase = "correct horse"

// start is when every test begins.
var start = time.Date(2025, 10, 14, 17, 0, 0, 0, time.UTC) //nolint:gochecknoglobals // a constant

// clock is set by hand.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

// fixture is a repository with one key for each role, and its clock.
type fixture struct {
	t    testing.TB
	dir  string
	keys *repo.Keys
	repo *repo.Repo
	*clock
}

func openKeys(t testing.TB, dir string) *repo.Keys {
	t.Helper()
	k, err := repo.OpenKeys(dir, func(string, bool) (string, error) { return passphrase, nil })
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func generate(t testing.TB, k *repo.Keys, name string) repo.PublicKey {
	t.Helper()
	p, err := k.Generate(name, 10)
	if err != nil {
		t.Fatal(err)
	}
	return *p
}

func newFixture(t testing.TB) *fixture {
	t.Helper()
	f := &fixture{t: t, dir: filepath.Join(t.TempDir(), "repo"), clock: &clock{t: start}}
	f.keys = openKeys(t, filepath.Join(t.TempDir(), "keys"))
	s := repo.Setup{Name: "test", Channels: []string{"candidate", "stable"}, Keys: map[string][]repo.PublicKey{}}
	for _, role := range []string{"root", "targets", "snapshot", "timestamp", "candidate", "stable"} {
		s.Keys[role] = []repo.PublicKey{generate(t, f.keys, role)}
	}
	r, err := repo.Create(f.dir, s, f.keys, f.now)
	if err != nil {
		t.Fatal(err)
	}
	f.repo = r
	t.Cleanup(r.Close)
	return f
}

func (f *fixture) root() []byte {
	f.t.Helper()
	data, err := os.ReadFile(f.repo.FirstRoot())
	if err != nil {
		f.t.Fatal(err)
	}
	return data
}

// client is a new one with an empty cache.
func (f *fixture) client(where string) *repo.Client { return f.clientAt(where, f.t.TempDir()) }

func (f *fixture) clientAt(where, cache string) *repo.Client {
	f.t.Helper()
	c, err := repo.Open(where, f.root(), cache, f.now)
	if err != nil {
		f.t.Fatal(err)
	}
	c.Stall = 200 * time.Millisecond
	return c
}

func (f *fixture) put(path, content string) {
	f.t.Helper()
	if err := f.repo.PutTarget(path, []byte(content), f.keys); err != nil {
		f.t.Fatal(err)
	}
}

// reopen opens the repository anew, as the next command would.
func (f *fixture) reopen() {
	f.t.Helper()
	if f.repo != nil {
		f.repo.Close()
	}
	r, err := repo.Load(f.dir, f.now)
	if err != nil {
		f.t.Fatal(err)
	}
	f.repo = r
	f.t.Cleanup(r.Close)
}

// fork is a copy to go on from; the keys are the same, but new ones are its own.
func (f *fixture) fork() *fixture {
	f.t.Helper()
	g := &fixture{t: f.t, dir: filepath.Join(f.t.TempDir(), "repo"), clock: f.clock}
	keys := filepath.Join(f.t.TempDir(), "keys")
	for to, from := range map[string]string{g.dir: f.dir, keys: f.keys.Dir()} {
		if err := os.CopyFS(to, os.DirFS(from)); err != nil {
			f.t.Fatal(err)
		}
	}
	names, err := filepath.Glob(filepath.Join(keys, "*.key"))
	if err != nil {
		f.t.Fatal(err)
	}
	for _, name := range append(names, keys) {
		if err := os.Chmod(name, 0o700); err != nil {
			f.t.Fatal(err)
		}
	}
	g.keys = openKeys(f.t, keys)
	g.reopen()
	return g
}

// public is the path of a served file.
func (f *fixture) public(name string) string { return filepath.Join(f.dir, "public", name) }

// copyPublic takes a copy of what is served, for an attacker to serve.
func (f *fixture) copyPublic() string {
	f.t.Helper()
	dir := filepath.Join(f.t.TempDir(), "copy")
	if err := os.CopyFS(dir, os.DirFS(filepath.Join(f.dir, "public"))); err != nil {
		f.t.Fatal(err)
	}
	return dir
}

func refresh(t testing.TB, c *repo.Client) {
	t.Helper()
	if err := c.Refresh(context.Background()); err != nil {
		t.Fatal(err)
	}
}

// read is the content of a target, or the error's text.
func read(c *repo.Client, path string) string {
	data, err := c.Read(context.Background(), path)
	if err != nil {
		return "error: " + err.Error()
	}
	return string(data)
}

// forge changes a metadata file and signs it with the named keys, as their
// thief could.
func forge[T metadata.Roles](f *fixture, file string, change func(*T), signers ...string) []byte {
	f.t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		f.t.Fatal(err)
	}
	m, err := (&metadata.Metadata[T]{}).FromBytes(data)
	if err != nil {
		f.t.Fatal(err)
	}
	change(&m.Signed)
	m.ClearSignatures()
	for _, name := range signers {
		for _, k := range f.keys.Public() {
			if k.Name != name {
				continue
			}
			s, err := f.keys.Signer(k.ID)
			if err != nil {
				f.t.Fatal(err)
			}
			if _, err := m.Sign(s); err != nil {
				f.t.Fatal(err)
			}
		}
	}
	if data, err = m.ToBytes(true); err != nil {
		f.t.Fatal(err)
	}
	return data
}

func write(t testing.TB, file string, data []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

func mustRead(t testing.TB, file string) []byte {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// glob is the one file of a pattern.
func glob(t testing.TB, pattern string) string {
	t.Helper()
	names, err := filepath.Glob(pattern)
	if err != nil || len(names) != 1 {
		t.Fatalf("%s: %v %v, want one file", pattern, names, err)
	}
	return names[0]
}

func wantError(t testing.TB, err error, is error, says ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want %q", is)
	}
	if is != nil {
		if e := is; !strings.Contains(err.Error(), e.Error()) {
			t.Errorf("error %q, want it to be %q", err, e)
		}
	}
	for _, s := range says {
		if !strings.Contains(err.Error(), s) {
			t.Errorf("error %q does not say %q", err, s)
		}
	}
}

func indent(t testing.TB, v any) string {
	t.Helper()
	data, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func metaFileOf(version int64, data []byte) *metadata.MetaFiles {
	sum := sha256.Sum256(data)
	m := metadata.MetaFile(version)
	m.Length, m.Hashes = int64(len(data)), metadata.Hashes{"sha256": sum[:]}
	return m
}

func targetFileOf(data []byte) *metadata.TargetFiles {
	sum := sha256.Sum256(data)
	return &metadata.TargetFiles{Length: int64(len(data)), Hashes: metadata.Hashes{"sha256": sum[:]}}
}

// rotate replaces the key of a role, the nth of RoleKeys.
func (f *fixture) rotate(role string, n int) {
	f.t.Helper()
	edit := repo.KeyEdit{Role: role, Add: []repo.PublicKey{generate(f.t, f.keys, role+"-2")}, Revoke: []string{f.repo.RoleKeys()[n].Keys[0].ID}}
	if err := f.repo.EditKeys(edit, f.keys); err != nil {
		f.t.Fatal(err)
	}
}
