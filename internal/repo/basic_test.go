package repo_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"hotpatch/internal/repo"
)

func TestClientReadsWhatWasPublished(t *testing.T) {
	f := newFixture(t)
	f.put("stable/bundles/a.hotpatch", "one")
	f.put("candidate/bundles/b.hotpatch", "two")
	srv := httptest.NewServer(http.FileServer(http.Dir(filepath.Join(f.dir, "public"))))
	defer srv.Close()
	for _, where := range []string{f.dir, filepath.Join(f.dir, "public"), "file://" + f.dir, srv.URL, srv.URL + "/"} {
		c := f.client(where)
		refresh(t, c)
		if got := read(c, "stable/bundles/a.hotpatch"); got != "one" {
			t.Errorf("%s: %s", where, got)
		}
		if got := read(c, "candidate/bundles/b.hotpatch"); got != "two" {
			t.Errorf("%s: %s", where, got)
		}
		list, err := c.List("stable")
		if err != nil || len(list) != 1 || list[0].Path != "stable/bundles/a.hotpatch" || list[0].Length != 3 {
			t.Errorf("%s: list %v %v", where, list, err)
		}
		_, err = c.Read(context.Background(), "stable/bundles/b.hotpatch")
		wantError(t, err, repo.ErrNotTarget)
	}
}

// Who publishes by renaming a whole directory into place is followed.
func TestClientFollowsADirectoryThatIsReplaced(t *testing.T) {
	f := newFixture(t)
	f.put("stable/bundles/a.hotpatch", "one")
	served := f.copyPublic()
	c := f.client(served)
	refresh(t, c)
	f.put("stable/bundles/b.hotpatch", "two")
	if err := os.Rename(served, served+".old"); err != nil {
		t.Fatal(err)
	}
	if err := c.Refresh(context.Background()); err == nil {
		t.Error("refreshed from a directory that is not there")
	}
	if err := os.Rename(f.copyPublic(), served); err != nil {
		t.Fatal(err)
	}
	refresh(t, c)
	if got := read(c, "stable/bundles/b.hotpatch"); got != "two" {
		t.Error(got)
	}
}

func TestClientWorksOfflineFromItsCache(t *testing.T) {
	f := newFixture(t)
	f.put("stable/bundles/a.hotpatch", "one")
	cache := t.TempDir()
	c := f.clientAt(f.dir, cache)
	refresh(t, c)
	if got := read(c, "stable/bundles/a.hotpatch"); got != "one" {
		t.Fatal(got)
	}
	c = f.clientAt("http://127.0.0.1:1/", cache)
	if err := c.Load(); err != nil {
		t.Fatal(err)
	}
	if got := read(c, "stable/bundles/a.hotpatch"); got != "one" {
		t.Fatal(got)
	}
	if err := c.Refresh(context.Background()); err == nil {
		t.Fatal("refreshed from nowhere")
	}
	if got := read(c, "stable/bundles/a.hotpatch"); got != "one" {
		t.Error("a failed refresh lost the state:", got)
	}
	f.advance(25 * 60 * 60 * 1e9)
	_, err := c.Read(context.Background(), "stable/bundles/a.hotpatch")
	wantError(t, err, repo.ErrExpired, "timestamp")
	wantError(t, c.Load(), repo.ErrExpired, "timestamp")
}

func TestCacheKeepsOnlyWhatIsOffered(t *testing.T) {
	f := newFixture(t)
	cache := t.TempDir()
	c := f.clientAt(f.dir, cache)
	for _, content := range []string{"one", "two", "three"} {
		f.put("stable/a", content)
		refresh(t, c)
		if got := read(c, "stable/a"); got != content {
			t.Error(got)
		}
		glob(t, filepath.Join(cache, "documents/*"))
	}
}

func TestClientsThatShareACacheFollowOneAnother(t *testing.T) {
	f := newFixture(t)
	cache := t.TempDir()
	errs := make(chan error)
	for range 4 {
		go func() { errs <- f.clientAt(f.dir, cache).Refresh(context.Background()) }()
	}
	for range 4 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}

func TestRepositoryIsReopenedAndChanged(t *testing.T) {
	f := newFixture(t)
	f.put("stable/a", "one")
	f.reopen()
	f.put("stable/a", "two")
	if err := f.repo.Refresh(f.keys); err != nil {
		t.Fatal(err)
	}
	c := f.client(f.dir)
	refresh(t, c)
	if got := read(c, "stable/a"); got != "two" {
		t.Error(got)
	}
	glob(t, f.public("targets/stable/*.a")) // the old one is gone
	if err := f.repo.DropTarget("stable/a", f.keys); err != nil {
		t.Fatal(err)
	}
	refresh(t, c)
	_, err := c.Read(context.Background(), "stable/a")
	wantError(t, err, repo.ErrNotTarget)
}
