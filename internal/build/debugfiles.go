package build

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"hotpatch/internal/image"
)

// debugFile finds the debug file for an image: the file itself, or below a
// directory as gdb does, by build-id or by the name in .gnu_debuglink (gdb
// manual §18.3). "" when the directory has none. The build-id of what is found
// is compared when it is read.
func debugFile(given string, m *image.Image) (string, error) {
	st, err := os.Stat(given)
	if err != nil {
		return "", err
	}
	if !st.IsDir() {
		return given, nil
	}
	names := namesByID(m.BuildID)
	if link := m.DebugLink(); link != "" {
		dir := filepath.Dir(m.Path)
		names = append(names, link, filepath.Join(".debug", link), filepath.Join(dir, link), filepath.Join("usr/lib/debug", dir, link))
	}
	for _, name := range names {
		if path := filepath.Join(given, name); hasID(path, m.BuildID) {
			return path, nil
		}
	}
	return "", nil
}

// debugFileIn is debugFile in the first of some directories that has one.
func debugFileIn(dirs []string, m *image.Image) (string, error) {
	for _, dir := range dirs {
		path, err := debugFile(dir, m)
		if path != "" || err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission) {
			return path, err
		}
	}
	return "", nil
}

// namesByID are the names below a directory that a file of that build-id may
// have, as gdb has them or as a package brings them.
func namesByID(id image.BuildID) []string {
	if len(id) <= 2 {
		return nil
	}
	name := filepath.Join(string(id[:2]), string(id[2:])+".debug")
	return []string{name, filepath.Join(".build-id", name), filepath.Join("usr/lib/debug/.build-id", name)}
}

// hasID says whether path is a file with that build-id.
func hasID(path string, id image.BuildID) bool {
	st, err := os.Stat(path)
	if err != nil || !st.Mode().IsRegular() {
		return false
	}
	got, err := image.ReadBuildID(path)
	return err == nil && got == id
}

// Debuginfod asks servers for debug files: GET URL/buildid/ID/debuginfo
// (debuginfod(8), WEBAPI). What they send is believed only when it has the
// build-id asked for.
type Debuginfod struct {
	URLs []string // http or https
	// Optional: servers that do not answer, or wrongly, are as good as none.
	Optional bool
	Cache    string // directory; "": hotpatch/debuginfod below the user's cache directory
	// MaxBytes bounds a debug file, 0: 2 GiB.
	MaxBytes int64
	Client   *http.Client // nil: one with time limits
}

// DebuginfodURLs splits what $DEBUGINFOD_URLS holds.
func DebuginfodURLs(s string) []string { return strings.Fields(s) }

const (
	maxDebugFile     = 2 << 30
	debuginfodHeader = 30 * time.Second // servers may have to unpack a package first
	debuginfodWhole  = 10 * time.Minute
)

// find returns the path of the debug file for id, "" when no server has it.
func (d *Debuginfod) find(ctx context.Context, id image.BuildID) (string, error) {
	if len(d.URLs) == 0 || id == "" {
		return "", nil
	}
	dir := d.Cache
	if dir == "" {
		user, err := os.UserCacheDir()
		if err != nil {
			return "", fmt.Errorf("find a place for debug files: %w", err)
		}
		dir = filepath.Join(user, "hotpatch", "debuginfod")
	}
	path := filepath.Join(dir, string(id)+".debug")
	if got, err := image.ReadBuildID(path); err == nil && got == id {
		return path, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	var errs []error
	for _, u := range d.URLs {
		found, err := d.fetch(ctx, u, id, path)
		if found {
			return path, nil
		}
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
		if err != nil {
			errs = append(errs, err)
		}
	}
	if d.Optional {
		return "", nil
	}
	return "", errors.Join(errs...)
}

// fetch asks one server. The file appears under its name when it is whole and
// the right one.
func (d *Debuginfod) fetch(ctx context.Context, base string, id image.BuildID, path string) (bool, error) {
	u, err := url.Parse(base)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return false, fmt.Errorf("debuginfod %q: not an http or https address", base)
	}
	u = u.JoinPath("buildid", string(id), "debuginfo")
	ctx, cancel := context.WithTimeout(ctx, debuginfodWhole)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return false, err
	}
	req.Header.Set("User-Agent", "hotpatch")
	client := d.Client
	if client == nil {
		client = &http.Client{Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, ResponseHeaderTimeout: debuginfodHeader}}
	}
	resp, err := client.Do(req)
	if err != nil {
		return false, fmt.Errorf("ask debuginfod: %w", err)
	}
	defer resp.Body.Close()
	switch {
	case resp.StatusCode == http.StatusNotFound:
		return false, nil
	case resp.StatusCode != http.StatusOK:
		return false, fmt.Errorf("ask debuginfod: %s answers %s", u, resp.Status)
	}
	most := d.MaxBytes
	if most == 0 {
		most = maxDebugFile
	}
	if resp.ContentLength > most {
		return false, fmt.Errorf("ask debuginfod: %s has %d bytes (at most %d are taken)", u, resp.ContentLength, most)
	}
	if err := keep(resp.Body, u.String(), id, path, most); err != nil {
		return false, err
	}
	return true, nil
}

// keep writes what a server sends beside path and renames it when it is right.
func keep(from io.Reader, name string, id image.BuildID, path string, most int64) (err error) {
	tmp, err := os.CreateTemp(filepath.Dir(path), ".fetching-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(tmp.Name())
		}
	}()
	n, err := io.Copy(tmp, io.LimitReader(from, most+1))
	if closing := tmp.Close(); err == nil {
		err = closing
	}
	if err != nil {
		return fmt.Errorf("fetch %s: %w", name, err)
	}
	if n > most {
		return fmt.Errorf("fetch %s: more than %d bytes", name, most)
	}
	got, err := image.ReadBuildID(tmp.Name())
	if err != nil {
		return fmt.Errorf("fetch %s: %w", name, err)
	}
	if got != id {
		return fmt.Errorf("fetch %s: it is the debug file of %q", name, got)
	}
	return os.Rename(tmp.Name(), path)
}
