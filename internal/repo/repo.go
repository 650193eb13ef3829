// Package repo is the signed repository: how baselines, releases, hotpatches
// and the calendar are published, and how a host fetches them without having
// to trust the server, the mirror or the network in between.
//
// It is a TUF repository (The Update Framework, specification 1.0) with
// consistent snapshots, on plain files that any web server, object store or
// CDN can hand out. Metadata is encoded, signed and verified by go-tuf.
//
//	DIR/repo.json       settings of those who publish
//	DIR/drafts/         releases and bundles that are not published yet
//	DIR/pending/        a change that waits for signatures, or is being written
//	DIR/public/         what is served: metadata/ and targets/
//
// Roles: root (offline, several holders) says whose keys count; targets
// (offline) delegates every channel; a channel's role signs what is published
// there, and only there; snapshot and timestamp are short-lived and say which
// versions belong together and that they are the newest.
//
// [Repo] publishes and holds the private keys' side; [Client] fetches and
// trusts nothing but a root file it was given. Both verify in the same way.
//
// Files below public/ are written under their final name by rename only, and
// timestamp.json last: a reader sees the old state or the new one.
package repo

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// The top-level roles. Every other role is a channel.
const (
	Root      = metadata.ROOT
	Targets   = metadata.TARGETS
	Snapshot  = metadata.SNAPSHOT
	Timestamp = metadata.TIMESTAMP
)

// Directories of a repository, and of its public half.
const (
	publicDir   = "public"
	draftsDir   = "drafts"
	pendingDir  = "pending"
	metadataDir = "metadata"
	targetsDir  = "targets"
)

// Why metadata or a target is refused; test with errors.Is.
var (
	ErrMalformed = errors.New("malformed")
	ErrSignature = errors.New("not signed by enough trusted keys")
	ErrExpired   = errors.New("expired")
	ErrRollback  = errors.New("older than what was seen before")
	ErrMismatch  = errors.New("not what the signed metadata describes")
	ErrTooLarge  = errors.New("larger than allowed")
	ErrSlow      = errors.New("no progress")
	ErrNotFound  = errors.New("not found")
	ErrNotTarget = errors.New("not offered by the repository")
)

// RoleError says which role's file was refused, and why (one of the errors above).
type RoleError struct {
	Role string // root, targets, snapshot, timestamp or a channel
	File string // as in the repository: "metadata/timestamp.json"
	Err  error
}

func (e *RoleError) Error() string {
	return fmt.Sprintf("refuse %s (%s): %v", e.Role, e.File, e.Err)
}

func (e *RoleError) Unwrap() error { return e.Err }

// channelName is what a channel may be called: it is a role, a directory and
// part of a URL.
func channelName() *regexp.Regexp { return regexp.MustCompile(`^[a-z][a-z0-9-]{0,30}$`) }

// CheckChannel says what is wrong with the name of a channel.
func CheckChannel(name string) error {
	if !channelName().MatchString(name) {
		return fmt.Errorf("channel %.40q: not 1 to 31 lower-case letters, digits and hyphens", name)
	}
	for _, role := range metadata.TOP_LEVEL_ROLE_NAMES {
		if name == role {
			return fmt.Errorf("channel %q: the name of a role", name)
		}
	}
	return nil
}

// maxPath bounds the path of a target: file names get a digest in front of
// them and must stay below 255 bytes.
const maxPath = 200

// checkPath wants CHANNEL/FILE or CHANNEL/KIND/FILE, each part one that is
// harmless in a path and in a URL. A target with any other path is refused
// before anything is made of it.
func checkPath(path string) error {
	if len(path) > maxPath {
		return fmt.Errorf("path of %d bytes, more than %d", len(path), maxPath)
	}
	parts := strings.Split(path, "/")
	if len(parts) < 2 || len(parts) > 3 {
		return fmt.Errorf("path %q: not CHANNEL/FILE or CHANNEL/KIND/FILE", path)
	}
	if err := CheckChannel(parts[0]); err != nil {
		return fmt.Errorf("path %q: %w", path, err)
	}
	for _, part := range parts[1:] {
		if !isPart(part) {
			return fmt.Errorf("path %.80q: bad part %.40q", path, part)
		}
	}
	return nil
}

// isPart allows what Debian's names and versions need, and never a hidden file.
func isPart(s string) bool {
	if s == "" || s[0] == '.' || s[0] == '-' {
		return false
	}
	for _, c := range []byte(s) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', strings.IndexByte("._+~-", c) >= 0:
		default:
			return false
		}
	}
	return true
}

// channelOf is the channel a target's path belongs to.
func channelOf(path string) string {
	channel, _, _ := strings.Cut(path, "/")
	return channel
}

// delegatedPaths are the patterns of the paths a channel's role may sign.
func delegatedPaths(channel string) []string { return []string{channel + "/*", channel + "/*/*"} }
