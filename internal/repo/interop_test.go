package repo_test

import (
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"

	"github.com/theupdateframework/go-tuf/v2/metadata/config"
	"github.com/theupdateframework/go-tuf/v2/metadata/updater"
)

// A TUF client that is not ours reads the repository, also after a change of
// keys.
func TestOtherClientsReadTheRepository(t *testing.T) {
	f := newFixture(t)
	f.put("stable/bundles/a.hotpatch", "one")
	root := f.root()
	srv := httptest.NewServer(http.FileServer(http.Dir(filepath.Join(f.dir, "public"))))
	defer srv.Close()
	read := func() string {
		t.Helper()
		cfg, err := config.New(srv.URL+"/metadata", root)
		if err != nil {
			t.Fatal(err)
		}
		cfg.RemoteTargetsURL = srv.URL + "/targets"
		cfg.LocalMetadataDir, cfg.LocalTargetsDir = t.TempDir(), t.TempDir()
		u, err := updater.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		u.UnsafeSetRefTime(f.now())
		if err := u.Refresh(); err != nil {
			t.Fatal(err)
		}
		info, err := u.GetTargetInfo("stable/bundles/a.hotpatch")
		if err != nil {
			t.Fatal(err)
		}
		_, data, err := u.DownloadTarget(info, "", "")
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	if got := read(); got != "one" {
		t.Error(got)
	}
	f.rotate("timestamp", 3)
	f.rotate("stable", 5)
	f.put("stable/bundles/a.hotpatch", "two")
	if got := read(); got != "two" {
		t.Error(got)
	}
}
