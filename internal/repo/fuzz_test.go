package repo_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"hotpatch/internal/catalog"
	"hotpatch/internal/repo"
)

// TestMain keeps the many small synced files of these tests in memory, where
// the system has a place for that.
func TestMain(m *testing.M) {
	if dir, err := os.MkdirTemp("/dev/shm", "hotpatch-repo-"); err == nil {
		old := os.Getenv("TMPDIR")
		if os.Setenv("TMPDIR", dir) == nil {
			code := m.Run()
			_ = os.Setenv("TMPDIR", old)
			_ = os.RemoveAll(dir)
			os.Exit(code)
		}
	}
	os.Exit(m.Run())
}

// roles of the fixture, and the file of each.
var fuzzed = []string{repo.Root, repo.Timestamp, repo.Snapshot, repo.Targets, "stable"} //nolint:gochecknoglobals // a constant

var update = flag.Bool("update", false, "write testdata anew")

// samples are the metadata of a small repository, by role. They are kept, so
// that what fuzzing found stays a case: every run would have other keys.
func samples(t testing.TB) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	for _, role := range fuzzed {
		out[role] = mustRead(t, filepath.Join("testdata/sample", role+".json"))
	}
	return out
}

func TestSamplesAreAccepted(t *testing.T) {
	if *update {
		f := newFixture(t)
		f.put("stable/bundles/a.hotpatch", "one")
		for role, name := range map[string]string{
			repo.Root: "1.root", repo.Timestamp: "timestamp", repo.Snapshot: "2.snapshot", repo.Targets: "1.targets", "stable": "2.stable",
		} {
			write(t, filepath.Join("testdata/sample", role+".json"), mustRead(t, f.public("metadata/"+name+".json")))
		}
	}
	s := samples(t)
	for _, role := range fuzzed[1:] {
		if err := repo.Walk(s[repo.Root], s[repo.Timestamp], s[repo.Snapshot], s[repo.Targets], role, s[role], start); err != nil {
			t.Error(err)
		}
	}
}

// FuzzMetadata: no byte that a server sends makes the client panic, whatever
// was verified before it, and nothing but the genuine file passes.
func FuzzMetadata(f *testing.F) {
	genuine := samples(f)
	for n, role := range fuzzed {
		f.Add(uint8(n), genuine[role])
		for _, c := range [][2]string{
			{`"version": 1`, `"version": -1`}, {`"version"`, `"Version"`}, {`{`, `null`}, {`"keyval": {`, `"keyval": null, "x": {`},
			{`"hashes": {`, `"hashes": null, "x": {`}, {`"public": "`, `"public": "00`}, {`"threshold": 1`, `"threshold": 0`},
			{`"signatures": [`, `"signatures": [null, `}, {`"expires": "2`, `"expires": "9`},
		} {
			f.Add(uint8(n), bytes.Replace(genuine[role], []byte(c[0]), []byte(c[1]), 1))
		}
	}
	f.Add(uint8(2), []byte(`{"signed":{"_type":"snapshot","spec_version":"1.0","version":1,"expires":"2030-01-01T00:00:00Z","meta":{"targets.json":null}}}`))
	f.Add(uint8(0), []byte(strings.Repeat("[", 9000)))
	f.Fuzz(func(t *testing.T, n uint8, data []byte) {
		role := fuzzed[int(n)%len(fuzzed)]
		err := repo.Walk(genuine[repo.Root], genuine[repo.Timestamp], genuine[repo.Snapshot], genuine[repo.Targets], role, data, start)
		if err == nil && !sameSigned(genuine[role], data) {
			t.Errorf("%s: accepted what was not signed", role)
		}
		// As the root that is trusted, and as a holder's pending file.
		_ = repo.Walk(data, genuine[repo.Timestamp], nil, nil, repo.Timestamp, genuine[repo.Timestamp], start)
		_ = repo.DecodeTargets(role, data)
	})
}

// sameSigned compares the signed halves as JSON values.
func sameSigned(a, b []byte) bool {
	half := func(data []byte) string {
		var m struct {
			Signed any `json:"signed"`
		}
		if json.Unmarshal(data, &m) != nil {
			return "bad"
		}
		out, err := json.Marshal(m.Signed)
		if err != nil {
			return "bad"
		}
		return strings.ToLower(string(out)) // keys are matched in any case
	}
	return half(a) == half(b)
}

func FuzzSettings(f *testing.F) {
	f.Add([]byte(`{"format": 1, "name": "acme", "lifetime": {"root": "365d", "timestamp": "24h"}}`))
	f.Add([]byte(`{"format": 1, "name": "../x"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if s, err := repo.DecodeSettings(data); err == nil && (s.Name == "" || strings.Contains(s.Name, "/")) {
			t.Errorf("accepted name %q", s.Name)
		}
	})
}

func FuzzPublicKey(f *testing.F) {
	k := openKeys(f, filepath.Join(f.TempDir(), "keys"))
	generate(f, k, "a")
	f.Add(mustRead(f, filepath.Join(k.Dir(), "a.pub")))
	f.Add([]byte(`{"name": "a", "id": "", "key": null}`))
	f.Add([]byte(`{"name": "a", "key": {"keytype": "ecdsa", "scheme": "x", "keyval": {"public": "-----BEGIN PUBLIC KEY-----"}}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if p, err := repo.DecodePublic(data); err == nil {
			if id, err := p.Key.ID(); err != nil || id != p.ID {
				t.Errorf("accepted id %q of key %q %v", p.ID, id, err)
			}
		}
	})
}

func FuzzKeyFile(f *testing.F) {
	k := openKeys(f, filepath.Join(f.TempDir(), "keys"))
	generate(f, k, "a")
	f.Add(mustRead(f, filepath.Join(k.Dir(), "a.key")))
	f.Add([]byte("-----BEGIN AGE ENCRYPTED FILE-----\n-----END AGE ENCRYPTED FILE-----\n"))
	f.Fuzz(func(_ *testing.T, data []byte) { _ = repo.OpenKey(data, passphrase) })
}

func FuzzBuildID(f *testing.F) {
	f.Add(elf(oldID))
	f.Add(elf(oldID)[:600])
	f.Add([]byte("\x7fELF"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if id, err := repo.BuildID(data); err == nil && len(id) > 128 {
			t.Errorf("build-id of %d digits", len(id))
		}
	})
}

func FuzzJournal(f *testing.F) {
	f.Add([]byte(`{"steps": [{"from": "stable.json", "to": "metadata/2.stable.json"}], "remove": ["targets/stable/x"]}`))
	f.Add([]byte(`{"steps": [{"from": "../../x", "to": "metadata/../../x"}], "remove": ["/etc/passwd"]}`))
	f.Fuzz(func(_ *testing.T, data []byte) { _ = repo.DecodeJournal(data) })
}

func FuzzPreview(f *testing.F) {
	f.Add([]byte(`{"release": "x", "content": "", "digest": "", "preview": {"would_eject": ["a"]}}`))
	f.Fuzz(func(_ *testing.T, data []byte) { _ = repo.DecodePreview(data) })
}

func FuzzPinList(f *testing.F) {
	f.Add("hello=1.0-1\nworld:amd64=2:1.0~rc1-1+b2 # x\n\n")
	f.Add("a=\n=b\n:=\n")
	f.Fuzz(func(t *testing.T, text string) {
		pins, err := repo.PinList(strings.NewReader(text), "list")
		if err != nil {
			return
		}
		for _, p := range pins {
			if p.Package == "" || p.Fixed == "" || strings.ContainsAny(p.Package, " /\n") {
				t.Errorf("accepted %+v", p)
			}
		}
		data, err := catalog.EncodeJSON(&catalog.Release{ID: "x", Kind: catalog.Baseline, Available: start, Life: catalog.Life{State: catalog.Draft}, Artifacts: pins})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := catalog.DecodeRelease(data); err != nil {
			t.Errorf("the catalogue refuses what the list gave: %v", err)
		}
	})
}

func FuzzPath(f *testing.F) {
	f.Add("stable/bundles/a.hotpatch")
	f.Add("stable/../x")
	f.Fuzz(func(t *testing.T, path string) {
		if repo.CheckPath(path) == nil && (!filepath.IsLocal(path) || filepath.Clean(path) != path || strings.ContainsAny(path, "\\%?#\x00 ")) {
			t.Errorf("accepted %q", path)
		}
	})
}
