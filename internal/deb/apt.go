package deb

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// What keeps apt from fetching a package; test with errors.Is.
var (
	ErrNoApt     = errors.New("apt is not on this machine")
	ErrNoNetwork = errors.New("the package archive cannot be reached")
	ErrNotListed = errors.New("apt's lists do not have it (apt-get update may)")
	ErrGone      = errors.New("the archive no longer has this file (apt-get update may know its successor)")
)

// Offer is a version of a package that apt can fetch.
type Offer struct{ Package, Version, Suite, Component string }

// Apt is a way of using apt. The zero value uses the host's own lists.
type Apt struct {
	// State, when set, is a directory for package lists of our own: they can
	// be fetched by any user and leave the host's as they are.
	State string
}

// Offers is Apt.Offers with the host's own lists.
func Offers(ctx context.Context, pkg string) ([]Offer, error) { return Apt{}.Offers(ctx, pkg) }

// Download is Apt.Download with the host's own lists.
func Download(ctx context.Context, pkg, version, dir string) (string, error) {
	return Apt{}.Download(ctx, pkg, version, dir)
}

// Update fetches the lists of all sources the host names into a.State.
func (a Apt) Update(ctx context.Context) error {
	if a.State == "" {
		return errors.New("update package lists: no directory given, and the host's are not ours to change")
	}
	for _, sub := range []string{"lists/partial", "cache/archives/partial"} {
		if err := os.MkdirAll(filepath.Join(a.State, sub), 0o755); err != nil {
			return fmt.Errorf("update package lists: %w", err)
		}
	}
	if _, err := a.run(ctx, "", "apt-get", "-q", "-o", "APT::Update::Error-Mode=any", "update"); err != nil {
		return fmt.Errorf("update package lists: %w", err)
	}
	return nil
}

// Offers lists what apt knows of a package (apt-cache madison), newest first.
// A package that apt's lists do not have is ErrNotListed.
func (a Apt) Offers(ctx context.Context, pkg string) ([]Offer, error) {
	if !packageName().MatchString(pkg) {
		return nil, fmt.Errorf("list versions: bad package name %q", pkg)
	}
	out, err := a.run(ctx, "", "apt-cache", "madison", pkg)
	if err != nil {
		return nil, fmt.Errorf("list versions of %s: %w", pkg, err)
	}
	offers := parseMadison(out, pkg)
	if len(offers) == 0 {
		return nil, fmt.Errorf("list versions of %s: %w", pkg, ErrNotListed)
	}
	return offers, nil
}

// parseMadison reads lines "NAME | VERSION | URI SUITE/COMPONENT ARCH Packages".
// Sources and what cannot be understood is passed over.
func parseMadison(text, pkg string) []Offer {
	var out []Offer
	for line := range strings.SplitSeq(text, "\n") {
		col := strings.Split(line, "|")
		if len(col) != 3 || strings.TrimSpace(col[0]) != pkg {
			continue
		}
		o := Offer{Package: pkg, Version: strings.TrimSpace(col[1])}
		where := strings.Fields(col[2])
		if _, err := parseVersion(o.Version); err != nil || len(where) == 0 || where[len(where)-1] != "Packages" {
			continue
		}
		if len(where) >= 4 {
			if i := strings.LastIndexByte(where[1], '/'); i >= 0 {
				o.Suite, o.Component = where[1][:i], where[1][i+1:]
			}
		}
		out = append(out, o)
	}
	slices.SortStableFunc(out, func(a, b Offer) int {
		c, _ := Compare(b.Version, a.Version) // both were parsed above
		return c
	})
	return out
}

// Download fetches pkg=version into dir with apt-get download and returns the
// file's path; a file already there is used again. apt verifies the archive's
// signatures and the file's digest.
func (a Apt) Download(ctx context.Context, pkg, version, dir string) (string, error) {
	if !packageName().MatchString(pkg) {
		return "", fmt.Errorf("fetch: bad package name %q", pkg)
	}
	if _, err := parseVersion(version); err != nil {
		return "", fmt.Errorf("fetch %s: %w", pkg, err)
	}
	if have, ok := fetched(dir, pkg, version); ok {
		return have, nil
	}
	path, err := a.download(ctx, pkg, version, dir)
	if err != nil {
		return "", fmt.Errorf("fetch %s=%s: %w", pkg, version, err)
	}
	return path, nil
}

// download lets apt write into a directory of its own, so that a download cut
// short never leaves a half file under the final name.
func (a Apt) download(ctx context.Context, pkg, version, dir string) (string, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	tmp, err := os.MkdirTemp(dir, ".fetch-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(tmp)
	if _, err := a.run(ctx, tmp, "apt-get", "-q", "download", pkg+"="+version); err != nil {
		return "", err
	}
	got, ok := fetched(tmp, pkg, version)
	if !ok {
		return "", errors.New("apt-get ended well but left no such package")
	}
	path := filepath.Join(dir, filepath.Base(got))
	return path, os.Rename(got, path)
}

// fetched finds pkg=version in dir by apt's file names (the epoch's colon is
// written %3a) and believes it only when its control data agrees.
func fetched(dir, pkg, version string) (string, bool) {
	names, err := filepath.Glob(filepath.Join(dir, pkg+"_"+strings.ReplaceAll(version, ":", "%3a")+"_*.deb"))
	if err != nil {
		return "", false
	}
	for _, name := range names {
		if p, err := Open(name); err == nil && p.Name == pkg && p.Version == version {
			return name, true
		}
	}
	return "", false
}

// run starts a tool of apt in dir and returns its standard output. What it says
// on failure is turned into one of the errors above where it is known.
func (a Apt) run(ctx context.Context, dir, tool string, args ...string) (string, error) {
	exe, err := exec.LookPath(tool)
	if err != nil {
		return "", fmt.Errorf("%w: %s", ErrNoApt, tool)
	}
	cmd := exec.CommandContext(ctx, exe, append(a.options(), args...)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive")
	// Ask first: apt kills its own helpers. Then insist.
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 3 * time.Second
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return "", context.Cause(ctx)
		}
		return "", aptError(tool, stderr.String(), err)
	}
	return stdout.String(), nil
}

func (a Apt) options() []string {
	out := []string{"-o", "Acquire::Retries=2", "-o", "Acquire::http::Timeout=20", "-o", "Acquire::https::Timeout=20"}
	if os.Geteuid() == 0 {
		// apt would drop to the user _apt, who cannot write here.
		out = append(out, "-o", "APT::Sandbox::User=root")
	}
	if a.State != "" {
		out = append(out,
			"-o", "Dir::State::Lists="+filepath.Join(a.State, "lists"),
			"-o", "Dir::Cache="+filepath.Join(a.State, "cache"))
	}
	return out
}

// aptError names the cause that apt's messages give. The order matters: a
// failed fetch names the file whatever the reason, the reason follows.
func aptError(tool, stderr string, err error) error {
	for _, known := range []struct {
		text string
		err  error
	}{
		{"404 ", ErrGone},
		{"Unable to locate package", ErrNotListed},
		{"No packages found", ErrNotListed},
		{"was not found", ErrNotListed}, // "Version '…' for '…' was not found"
		{"Can't find a source to download", ErrNotListed},
		{"Temporary failure resolving", ErrNoNetwork},
		{"Could not resolve", ErrNoNetwork},
		{"Could not connect", ErrNoNetwork},
		{"Unable to connect", ErrNoNetwork},
		{"Cannot initiate the connection", ErrNoNetwork},
		{"timed out", ErrNoNetwork},
		{"Failed to fetch", ErrNoNetwork},
	} {
		if strings.Contains(stderr, known.text) {
			return known.err
		}
	}
	first, _, _ := strings.Cut(strings.TrimSpace(stderr), "\n")
	if first == "" {
		return fmt.Errorf("%s: %w", tool, err)
	}
	return fmt.Errorf("%s: %w: %s", tool, err, first)
}
