package repo

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// A change goes through three directories, each of which appears whole:
//
//	pending.new → pending   metadata that collects signatures, and new targets
//	pending     → writing   all is signed: from here on the change is final
//	writing     → public    file by file, timestamp.json last
//
// Whoever opens the repository after a crash finishes what is in writing and
// clears away what is called .new. A refresh starts at writing, so that it can
// be done while a change waits for signatures.
const (
	writingDir  = "writing"
	newSuffix   = ".new"
	changeFile  = "change.json"
	journalFile = "journal.json"
	maxJournal  = 64 << 20
)

// change is what one command does to the published state.
type change struct {
	what    string
	root    *rootMeta               // nil: unchanged
	targets map[string]*targetsMeta // changed targets roles: the top level and channels
	content map[string][]byte       // name below public/ → the content itself
	remove  []string                // names below public/ that go afterwards
}

// changeJSON is pending/change.json.
type changeJSON struct {
	What   string   `json:"what"`
	Files  []string `json:"files"` // names below public/, present below pending/
	Remove []string `json:"remove"`
}

// Pending says that a change is complete but for signatures.
type Pending struct {
	What    string
	Missing []Missing
}

// Missing is a role that wants more signatures.
type Missing struct {
	Role string
	Have int
	Want int
	Keys []string // ids of keys that could sign and have not
}

func (p *Pending) Error() string {
	var parts []string
	for _, m := range p.Missing {
		parts = append(parts, fmt.Sprintf("%s has %d of %d", m.Role, m.Have, m.Want))
	}
	return fmt.Sprintf("%s: waits for signatures: %s", p.What, strings.Join(parts, ", "))
}

// edit is a copy of a channel's (or the top-level) targets to change.
func (c *change) edit(r *Repo, role string) (*targetsMeta, error) {
	if m := c.targets[role]; m != nil {
		return m, nil
	}
	if r.t == nil || r.t.set.Targets[role] == nil {
		return nil, fmt.Errorf("channel %s: %w", role, ErrNotTarget)
	}
	m, err := clone(r.t.set.Targets[role])
	if err != nil {
		return nil, err
	}
	if c.targets == nil {
		c.targets = map[string]*targetsMeta{}
	}
	c.targets[role] = m
	return m, nil
}

func hashesOf(data []byte) metadata.Hashes {
	sum := sha256.Sum256(data)
	return metadata.Hashes{"sha256": sum[:]}
}

func clone[T metadata.Roles](m *signed[T]) (*signed[T], error) {
	data, err := encode(m)
	if err != nil {
		return nil, err
	}
	return (&signed[T]{}).FromBytes(data)
}

// put adds a target with this content to a channel.
func (c *change) put(r *Repo, path string, content []byte) error {
	if err := checkPath(path); err != nil {
		return err
	}
	m, err := c.edit(r, channelOf(path))
	if err != nil {
		return err
	}
	f := &metadata.TargetFiles{Length: int64(len(content)), Hashes: hashesOf(content), Path: path}
	if old := m.Signed.Targets[path]; old != nil && old.Hashes["sha256"].String() != f.Hashes["sha256"].String() {
		c.remove = append(c.remove, targetFile(path, old))
	}
	m.Signed.Targets[path] = f
	if c.content == nil {
		c.content = map[string][]byte{}
	}
	c.content[targetFile(path, f)] = content
	return nil
}

// drop removes a target from its channel, and its file afterwards.
func (c *change) drop(r *Repo, path string) error {
	m, err := c.edit(r, channelOf(path))
	if err != nil {
		return err
	}
	if f := m.Signed.Targets[path]; f != nil {
		delete(m.Signed.Targets, path)
		c.remove = append(c.remove, targetFile(path, f))
	}
	return nil
}

// commit signs and publishes a change. When keys are missing it stays pending.
// On any other error nothing was changed.
func (r *Repo) commit(c *change, keys *Keys) error {
	if _, err := os.Lstat(r.path(pendingDir)); err == nil {
		return fmt.Errorf("%s: another change waits for signatures (hotpatch repo sign adds them, or discards it)", c.what)
	}
	if err := r.stage(c); err != nil {
		return errors.Join(fmt.Errorf("%s: %w", c.what, err), os.RemoveAll(r.path(pendingDir+newSuffix)))
	}
	err := r.advance(keys)
	if p := (*Pending)(nil); err != nil && !errors.As(err, &p) {
		return errors.Join(err, os.RemoveAll(r.path(pendingDir)))
	}
	return err
}

// stage writes the change, unsigned, as pending.
func (r *Repo) stage(c *change) error {
	tmp := r.path(pendingDir + newSuffix)
	if err := os.RemoveAll(tmp); err != nil {
		return err
	}
	put := func(name string, data []byte) error {
		return writeFile(filepath.Join(tmp, filepath.FromSlash(name)), data, 0o644)
	}
	for name, data := range c.content {
		if err := put(name, data); err != nil {
			return err
		}
	}
	if c.root != nil {
		c.root.Signed.Version++
		c.root.Signed.Expires = r.expiry(Root)
		if err := putMeta(put, Root, c.root); err != nil {
			return err
		}
	}
	for role, m := range c.targets {
		m.Signed.Version++
		m.Signed.Expires = r.expiry(role)
		if err := putMeta(put, role, m); err != nil {
			return err
		}
	}
	data, err := json.MarshalIndent(changeJSON{
		What: c.what, Files: slices.Sorted(maps.Keys(c.content)), Remove: c.remove,
	}, "", "  ")
	if err != nil {
		return err
	}
	if err := put(changeFile, append(data, '\n')); err != nil {
		return err
	}
	return rename(tmp, r.path(pendingDir))
}

// putMeta writes new metadata without signatures. It must be what clients accept.
func putMeta[T metadata.Roles](put func(string, []byte) error, role string, m *signed[T]) error {
	m.ClearSignatures()
	data, err := encode(m)
	if err != nil {
		return err
	}
	if err := checkShape(role, data); err != nil {
		return fmt.Errorf("%s: %w", role, err)
	}
	return put(role+".json", data)
}

// expiry is when new metadata of a role expires: whole seconds, as TUF wants.
func (r *Repo) expiry(role string) time.Time {
	return r.now().Add(r.settings.lifetime(role)).UTC().Truncate(time.Second)
}

// pending is what was staged, as it is on disk now.
type pending struct {
	changeJSON
	root    *rootMeta
	targets map[string]*targetsMeta
}

func (r *Repo) readPending() (*pending, error) {
	dir := r.path(pendingDir)
	data, err := readFileBounded(filepath.Join(dir, changeFile), maxJournal)
	if err != nil {
		return nil, err
	}
	p := &pending{targets: map[string]*targetsMeta{}}
	if err := json.Unmarshal(data, &p.changeJSON); err != nil {
		return nil, fmt.Errorf("%s/%s: %w: %w", pendingDir, changeFile, ErrMalformed, err)
	}
	for _, name := range slices.Concat(p.Files, p.Remove) {
		if err := checkPublicName(name); err != nil {
			return nil, fmt.Errorf("%s/%s: %w", pendingDir, changeFile, err)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		role, ok := strings.CutSuffix(e.Name(), ".json")
		if !ok || e.Name() == changeFile || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		data, err := readFileBounded(filepath.Join(dir, e.Name()), limitOf(role))
		if err != nil {
			return nil, err
		}
		if role == Root {
			p.root, err = decode[metadata.RootType](Root, data)
		} else {
			p.targets[role], err = decode[metadata.TargetsType](role, data)
		}
		if err != nil {
			return nil, fmt.Errorf("%s/%s: %w", pendingDir, e.Name(), err)
		}
	}
	return p, nil
}

func readFileBounded(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	data, err := readBounded(f, limit)
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return data, nil
}

// checkPublicName wants the name of a file below public/: nothing that leads
// elsewhere.
func checkPublicName(name string) error {
	if !filepath.IsLocal(name) || !strings.HasPrefix(name, targetsDir+"/") && !strings.HasPrefix(name, metadataDir+"/") {
		return fmt.Errorf("%w: file name %.80q", ErrMalformed, name)
	}
	return nil
}

// journal is writing/journal.json: which file of writing gets which name, in
// order, and what goes afterwards. Doing it twice is doing it once.
type journal struct {
	Steps  []step   `json:"steps"`
	Remove []string `json:"remove"`
}

type step struct {
	From string `json:"from"` // below writing/
	To   string `json:"to"`   // below public/
}

// recover finishes or clears away what a killed command left.
func (r *Repo) recover() error {
	err := errors.Join(os.RemoveAll(r.path(pendingDir+newSuffix)), os.RemoveAll(r.path(writingDir+newSuffix)))
	if err != nil {
		return err
	}
	if _, err := os.Lstat(r.path(writingDir)); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return r.write()
}

// write makes the change in writing public.
func (r *Repo) write() error {
	data, err := readFileBounded(r.path(writingDir, journalFile), maxJournal)
	if errors.Is(err, fs.ErrNotExist) {
		return os.RemoveAll(r.path(writingDir)) // written wholly; its clearing was cut short
	}
	if err != nil {
		return err
	}
	j, err := decodeJournal(data)
	if err != nil {
		return fmt.Errorf("%s/%s: %w", writingDir, journalFile, err)
	}
	for _, s := range j.Steps {
		from := r.path(writingDir, filepath.FromSlash(s.From))
		if _, err := os.Lstat(from); errors.Is(err, fs.ErrNotExist) {
			continue // done before the crash
		}
		if err := r.before(s.To); err != nil {
			return err
		}
		if err := rename(from, r.public(s.To)); err != nil {
			return err
		}
	}
	for _, name := range j.Remove {
		if err := r.before("remove " + name); err != nil {
			return err
		}
		if err := removed(r.public(name)); err != nil {
			return err
		}
	}
	// The journal last: without it the rest is litter.
	if err := removed(r.path(writingDir, journalFile)); err != nil {
		return err
	}
	return os.RemoveAll(r.path(writingDir))
}

func (r *Repo) before(name string) error {
	if r.step == nil {
		return nil
	}
	return r.step(name)
}

func decodeJournal(data []byte) (*journal, error) {
	var j journal
	if err := json.Unmarshal(data, &j); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	for i, s := range j.Steps {
		if err := checkPublicName(s.To); err != nil {
			return nil, fmt.Errorf("steps[%d].to: %w", i, err)
		}
		if !filepath.IsLocal(s.From) {
			return nil, fmt.Errorf("steps[%d].from: %w: %.80q", i, ErrMalformed, s.From)
		}
	}
	for i, name := range j.Remove {
		if err := checkPublicName(name); err != nil {
			return nil, fmt.Errorf("remove[%d]: %w", i, err)
		}
	}
	return &j, nil
}
