package repo

import (
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"hotpatch/internal/catalog"
)

// maxDocument bounds a target that is read into memory, in bytes.
const maxDocument = catalog.MaxBytes

// documentsDir of the cache has the targets that were read, by digest.
const documentsDir = "documents"

// staleTemp is how old a half download must be to be cleared away: nobody is
// writing it any more.
const staleTemp = 24 * time.Hour

// Fetch puts a target into file, verified: a reader of file sees the whole
// target or what was there before. A file that holds it already is kept.
// ErrNotTarget when the repository does not offer it (any more).
func (c *Client) Fetch(ctx context.Context, path, file string) error {
	t, err := c.current(channelOf(path))
	if err != nil {
		return fmt.Errorf("fetch %s: %w", path, err)
	}
	f, err := t.target(path)
	if err != nil {
		return fmt.Errorf("fetch %w", err)
	}
	if verifyFile(file, f) == nil {
		return nil
	}
	src, err := c.source()
	if err != nil {
		return fmt.Errorf("fetch %s: %w", path, err)
	}
	if err := download(ctx, src, path, f, file, 0o600); err != nil {
		return fmt.Errorf("fetch %s: %w", path, err)
	}
	return nil
}

// Read fetches a small target, verified, and keeps it in the cache.
func (c *Client) Read(ctx context.Context, path string) ([]byte, error) {
	t, err := c.current(channelOf(path))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	f, err := t.target(path)
	if err != nil {
		return nil, fmt.Errorf("read %w", err)
	}
	if f.Length > maxDocument {
		return nil, fmt.Errorf("read %s: %w: %d bytes, at most %d", path, ErrTooLarge, f.Length, maxDocument)
	}
	file := filepath.Join(c.cache, documentsDir, f.Hashes["sha256"].String())
	if err := c.Fetch(ctx, path, file); err != nil {
		return nil, err
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if err := f.VerifyLengthHashes(data); err != nil {
		return nil, fmt.Errorf("read %s: %w: %w", path, ErrMismatch, err)
	}
	return data, nil
}

// Check says whether a file fetched earlier still is what the repository
// offers under this path: the check that precedes every use. ErrNotTarget: it
// is offered no more and the file should be removed. ErrMismatch: the file is
// not, or no longer, that target.
func (c *Client) Check(path, file string) error {
	t, err := c.current(channelOf(path))
	if err != nil {
		return fmt.Errorf("check %s: %w", path, err)
	}
	f, err := t.target(path)
	if err != nil {
		return fmt.Errorf("check %w", err)
	}
	if err := verifyFile(file, f); err != nil {
		return fmt.Errorf("check %s: %w", path, err)
	}
	return nil
}

// verifyFile compares a file's length and digests.
func verifyFile(file string, want *metadata.TargetFiles) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	return copyVerified(io.Discard, f, want)
}

// copyVerified copies a target's bytes, at most as many as it may have, and
// compares length and every digest. w may have got bytes of a bad target.
func copyVerified(w io.Writer, r io.Reader, want *metadata.TargetFiles) error {
	sums := map[string]hash.Hash{"sha256": sha256.New(), "sha512": sha512.New()}
	ws := []io.Writer{w}
	for name := range want.Hashes {
		sum := sums[name]
		if sum == nil {
			return fmt.Errorf("%w: unknown digest %.20q", ErrMalformed, name)
		}
		ws = append(ws, sum)
	}
	n, err := io.Copy(io.MultiWriter(ws...), io.LimitReader(r, want.Length+1))
	switch {
	case err != nil:
		return err
	case n > want.Length:
		return fmt.Errorf("%w: more than the %d bytes it has", ErrTooLarge, want.Length)
	case n < want.Length:
		return fmt.Errorf("%w: ends after %d of %d bytes", ErrMismatch, n, want.Length)
	}
	for name, digest := range want.Hashes {
		if got := hex.EncodeToString(sums[name].Sum(nil)); got != digest.String() {
			return fmt.Errorf("%w: %s is %s, not %s", ErrMismatch, name, got, digest)
		}
	}
	return nil
}

// download fetches a target into a temporary file beside file, verifies, syncs
// and renames it.
func download(ctx context.Context, src source, path string, want *metadata.TargetFiles, file string, mode os.FileMode) (err error) {
	dir := filepath.Dir(file)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	clearStale(dir)
	body, size, err := src.open(ctx, targetFile(path, want))
	if err != nil {
		return err
	}
	defer body.Close()
	if size > want.Length {
		return fmt.Errorf("%w: %d bytes announced, but it has %d", ErrTooLarge, size, want.Length)
	}
	tmp, err := os.CreateTemp(dir, tempPrefix+"*")
	if err != nil {
		return err
	}
	if err := copyVerified(tmp, body, want); err != nil {
		return errors.Join(err, tmp.Close(), removed(tmp.Name()))
	}
	if err := finish(tmp, file, mode); err != nil {
		return errors.Join(err, removed(tmp.Name()))
	}
	return nil
}

// clearStale removes what downloads left that were killed. It is only tidying:
// what cannot be removed stays.
func clearStale(dir string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		if info, err := e.Info(); err == nil && strings.HasPrefix(e.Name(), tempPrefix) && time.Since(info.ModTime()) > staleTemp {
			_ = os.Remove(filepath.Join(dir, e.Name()))
		}
	}
}
