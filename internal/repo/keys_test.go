package repo_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"hotpatch/internal/repo"
)

func TestKeyFilesAreEncryptedAndPrivate(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keys")
	k := openKeys(t, dir)
	p := generate(t, k, "root")
	data := mustRead(t, filepath.Join(dir, "root.key"))
	if !strings.HasPrefix(string(data), "-----BEGIN AGE ENCRYPTED FILE-----") {
		t.Errorf("key file begins %.40q", data)
	}
	for file, mode := range map[string]os.FileMode{"root.key": 0o600, "root.pub": 0o644, ".": 0o700} {
		st, err := os.Stat(filepath.Join(dir, file))
		if err != nil || st.Mode().Perm() != mode {
			t.Errorf("%s: mode %v %v, want %o", file, st.Mode(), err, mode)
		}
	}
	if _, err := k.Generate("root", 10); err == nil {
		t.Error("a key was overwritten")
	}

	wrong, err := repo.OpenKeys(dir, func(string, bool) (string, error) { return "battery staple", nil })
	if err != nil {
		t.Fatal(err)
	}
	_, err = wrong.Signer(p.ID)
	wantError(t, err, repo.ErrPassphrase, "root.key")

	again := openKeys(t, dir)
	if _, err := again.Signer(p.ID); err != nil {
		t.Error(err)
	}
	if err := os.Chmod(filepath.Join(dir, "root.key"), 0o640); err != nil {
		t.Fatal(err)
	}
	_, err = openKeys(t, dir).Signer(p.ID)
	wantError(t, err, nil, "chmod 600")
}

func TestKeyFileOfAnotherNameIsNoticed(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keys")
	k := openKeys(t, dir)
	a := generate(t, k, "a")
	generate(t, k, "b")
	if err := os.Rename(filepath.Join(dir, "b.key"), filepath.Join(dir, "a.key")); err != nil {
		t.Fatal(err)
	}
	_, err := openKeys(t, dir).Signer(a.ID)
	wantError(t, err, repo.ErrMismatch)
}

func TestKeysInsideTheRepositoryAreRefused(t *testing.T) {
	dir := t.TempDir()
	if err := os.Symlink(dir, filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	for keys, ok := range map[string]bool{
		dir:                                  false,
		filepath.Join(dir, "keys"):           false,
		filepath.Join(dir, "link/x/keys"):    false,
		dir + "-keys":                        true,
		filepath.Join(dir, "../keys"):        true,
		filepath.Join(t.TempDir(), "..keys"): true,
	} {
		if err := repo.CheckOutside(dir, keys); (err == nil) != ok {
			t.Errorf("%s: %v", keys, err)
		}
	}
}
