package deb_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"hotpatch/internal/deb"
)

const madison = `     redis-tools | 5:7.0.15-1~deb12u7 | http://mirror.example/debian bookworm/main amd64 Packages
     redis-tools | 5:7.0.15-1~deb12u10 | http://mirror.example/debian-security bookworm-security/main amd64 Packages
     redis-tools | 5:7.0.15-1~deb12u10 | http://mirror.example/debian-security bookworm-security/main Sources
     redis-tools | nonsense | http://mirror.example/debian bookworm/main amd64 Packages
     redis-tools-x | 9 | http://mirror.example/debian bookworm/main amd64 Packages
N: a note
`

func TestOffersAreNewestFirst(t *testing.T) {
	want := []deb.Offer{
		{"redis-tools", "5:7.0.15-1~deb12u10", "bookworm-security", "main"},
		{"redis-tools", "5:7.0.15-1~deb12u7", "bookworm", "main"},
	}
	if d := cmp.Diff(want, deb.ParseMadison(madison, "redis-tools")); d != "" {
		t.Error(d)
	}
}

func TestAptErrorsAreNamed(t *testing.T) {
	exit := errors.New("exit status 100")
	for text, want := range map[string]error{
		"E: Unable to locate package nope":                                                     deb.ErrNotListed,
		"E: Version '1' for 'bash' was not found":                                              deb.ErrNotListed,
		"E: Failed to fetch http://x/b.deb  404  Not Found [IP: 1.2.3.4 80]":                   deb.ErrGone,
		"Err:1 http://x\n  Temporary failure resolving 'x'\nE: Failed to fetch http://x/b.deb": deb.ErrNoNetwork,
		"E: something else\nE: second":                                                         exit,
		"":                                                                                     exit,
	} {
		if err := deb.AptError("apt-get", text, exit); !errors.Is(err, want) {
			t.Errorf("%q: %v, want %v", text, err, want)
		}
	}
}

// fakeApt puts shell scripts named apt-get and apt-cache first in PATH.
func fakeApt(t *testing.T, script string) {
	t.Helper()
	bin := t.TempDir()
	for _, name := range []string{"apt-get", "apt-cache"} {
		if err := os.WriteFile(filepath.Join(bin, name), []byte("#!/bin/sh\n"+script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
}

func TestDownloadFetchesOnceAndUsesItAgain(t *testing.T) {
	made := makeDeb(t, ".gz", redisControl)
	log := filepath.Join(t.TempDir(), "log")
	fakeApt(t, fmt.Sprintf("echo \"$@\" >> %s; cp %s redis-tools_5%%3a7.0.15-1~deb12u7_amd64.deb", log, made))
	dir := filepath.Join(t.TempDir(), "debs")
	for range 2 {
		path, err := deb.Download(context.Background(), "redis-tools", "5:7.0.15-1~deb12u7", dir)
		if err != nil {
			t.Fatal(err)
		}
		if want := filepath.Join(dir, "redis-tools_5%3a7.0.15-1~deb12u7_amd64.deb"); path != want {
			t.Errorf("path %s, want %s", path, want)
		}
	}
	said, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(said), "download redis-tools=5:7.0.15-1~deb12u7"); n != 1 {
		t.Errorf("apt-get ran %d times: %s", n, said)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 1 {
		t.Errorf("%d files left, want the package alone: %v", len(left), err)
	}
}

func TestDownloadRefusesWhatAptMistook(t *testing.T) {
	made := makeDeb(t, ".gz", strings.Replace(redisControl, "deb12u7", "deb12u8", 1))
	fakeApt(t, fmt.Sprintf("cp %s redis-tools_5%%3a7.0.15-1~deb12u7_amd64.deb", made))
	if path, err := deb.Download(context.Background(), "redis-tools", "5:7.0.15-1~deb12u7", t.TempDir()); err == nil {
		t.Errorf("another version was taken: %s", path)
	}
}

func TestNamesCannotBecomeOptions(t *testing.T) {
	fakeApt(t, "echo ran; exit 0")
	for _, bad := range []string{"", "-oDir=/x", "../x", "A", "a b", "x;y"} {
		if _, err := deb.Offers(context.Background(), bad); err == nil || !strings.Contains(err.Error(), "bad package name") {
			t.Errorf("Offers(%q): %v", bad, err)
		}
		if _, err := deb.Download(context.Background(), bad, "1", t.TempDir()); err == nil || !strings.Contains(err.Error(), "bad package name") {
			t.Errorf("Download(%q): %v", bad, err)
		}
	}
	if _, err := deb.Download(context.Background(), "aa", "--help", t.TempDir()); err == nil || !strings.Contains(err.Error(), "bad version") {
		t.Errorf("version as an option: %v", err)
	}
}

func TestWithoutAptItSaysSo(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	if _, err := deb.Offers(context.Background(), "bash"); !errors.Is(err, deb.ErrNoApt) {
		t.Errorf("%v, want ErrNoApt", err)
	}
}

func TestUnknownPackageIsNotListed(t *testing.T) {
	fakeApt(t, "echo 'N: Unable to locate package nope' >&2; exit 0")
	if _, err := deb.Offers(context.Background(), "nope"); !errors.Is(err, deb.ErrNotListed) {
		t.Errorf("%v, want ErrNotListed", err)
	}
}
