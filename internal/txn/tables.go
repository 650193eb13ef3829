package txn

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"hotpatch/internal/image"
	"hotpatch/internal/link"
	"hotpatch/internal/patch"
	"hotpatch/internal/proc"
	"hotpatch/internal/unwind"
)

// Tables keeps what transactions need to know of files between processes:
// hundreds share a libc. The zero value is empty and ready; safe for
// concurrent use.
//
// Processes lie: anyone can map a file with the build-id of another, or change
// the one in its memory. So what is kept is told by content alone, of a file that
// the kernel names (proc.FileID), and never depends on how a process maps it.
type Tables struct {
	unwind      memo[imageKey, frameTable]
	trampolines memo[imageKey, trampolines]
	files       memo[imageKey, fileFacts]
	padding     memo[paddingKey, uint64] // base address of padding near an entry
	stacks      sync.Pool                // of *[]byte, for checkers

	mu     sync.Mutex
	bundle *patch.Bundle // the last one that was found to be applicable,
	id     patch.ID      // and its id
}

// imageKey is the content behind a module.
type imageKey struct {
	file    proc.FileID       // zero: there is none
	memory  [sha256.Size]byte // then the digest of what is in memory
	buildID string            // as in memory
	// Whose it is alone; 0: anybody's who maps the file.
	pid   int
	start uint64
}

// paddingKey is an entry in an image, and what has to lie near it.
type paddingKey struct {
	imageKey
	base    uint64
	through link.Through
}

// frameTable is an image's unwind data, made of that many bytes.
type frameTable struct {
	*unwind.Table
	size uint64
}

// applicable is the id of a bundle that may be applied. A bundle must not change
// between calls that share the tables.
func (c *Tables) applicable(b *patch.Bundle) (patch.ID, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.bundle == b {
		return c.id, nil
	}
	if err := b.Applicable(); err != nil {
		return "", refuse("%v", err)
	}
	id, err := b.ID()
	if err == nil {
		c.bundle, c.id = b, id
	}
	return id, err
}

// memo remembers values by key. Who asks for one that somebody else is just
// finding out waits for that; others do not.
type memo[K comparable, T any] struct {
	mu    sync.Mutex
	known map[K]*fact[T]
	cost  uint64
}

type fact[T any] struct {
	mu    sync.Mutex
	found bool
	v     T
}

// Bounds of a memo. A host has some hundred images in use; an agent runs for
// months.
const (
	mostFacts = 4096
	mostCost  = 256 << 20 // bytes that values were made of
)

// of is the place of k, known or not.
func (m *memo[K, T]) of(k K) *fact[T] {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.known == nil || len(m.known) >= mostFacts || m.cost > mostCost {
		m.known, m.cost = map[K]*fact[T]{}, 0
	}
	f := m.known[k]
	if f == nil {
		f = new(fact[T])
		m.known[k] = f
	}
	return f
}

// get is what is known of k, or finds it out. find says of which key it found
// something: what is not of k is not kept.
func (m *memo[K, T]) get(k K, find func() (v T, of K, cost uint64, err error)) (T, error) {
	f := m.of(k)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.found {
		return f.v, nil
	}
	v, of, cost, err := find()
	if err != nil || of != k {
		return v, err
	}
	f.v, f.found = v, true
	m.mu.Lock()
	defer m.mu.Unlock()
	m.cost += cost
	return v, nil
}

// put keeps what was found of k by the way, if nobody has found it or is just finding
// it out.
func (m *memo[K, T]) put(k K, v T) {
	if f := m.of(k); f.mu.TryLock() {
		f.v, f.found = v, true
		f.mu.Unlock()
	}
}

// remember is what a module's file says, read or known. read must go by the
// content alone.
func remember[T any](t *target, m proc.Module, known *memo[imageKey, T], read func(f *proc.File) (v T, cost uint64, err error)) (T, error) {
	k, err := t.identify(m)
	if err != nil {
		var none T
		return none, err
	}
	k.buildID = m.BuildID // which may have changed in memory
	return known.get(k, func() (v T, of imageKey, cost uint64, err error) {
		f, err := proc.OpenFile(t.info.PID, m)
		if err != nil {
			return v, of, 0, err
		}
		defer f.Close()
		if of, err = t.keyOf(f, m); err != nil {
			return v, of, 0, err
		}
		v, cost, err = read(f)
		return v, of, cost, err
	})
}

// identify is the key of a module, asked once as long as it is mapped there.
func (t *target) identify(m proc.Module) (imageKey, error) {
	if k, ok := t.keys[m.Maps[0]]; ok {
		return k, nil
	}
	k, err := t.identifyNow(m)
	if err != nil {
		return k, err
	}
	if t.keys == nil {
		t.keys = map[proc.Map]imageKey{}
	}
	t.keys[m.Maps[0]] = k
	return k, nil
}

func (t *target) identifyNow(m proc.Module) (imageKey, error) {
	if m.Maps[0].Inode != 0 {
		id, err := proc.Identify(t.info.PID, m)
		return t.key(id, m), err
	}
	const most = 1 << 20 // the vdso has two pages
	size := m.Hi() - m.Lo()
	if size > most {
		return imageKey{}, fmt.Errorf("read %s: %d bytes without a file", m.Path, size)
	}
	b := make([]byte, size)
	if _, err := t.mem.ReadAt(b, int64(m.Lo())); err != nil {
		return imageKey{}, err
	}
	return imageKey{memory: sha256.Sum256(b), buildID: m.BuildID}, nil
}

// keyOf is the key of what was opened.
func (t *target) keyOf(f *proc.File, m proc.Module) (imageKey, error) {
	if m.Maps[0].Inode != 0 {
		return t.key(f.ID, m), nil
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, io.NewSectionReader(f, 0, f.Size)); err != nil {
		return imageKey{}, err
	}
	return imageKey{memory: [sha256.Size]byte(sum.Sum(nil)), buildID: m.BuildID}, nil
}

func (t *target) key(id proc.FileID, m proc.Module) imageKey {
	k := imageKey{file: id, buildID: m.BuildID}
	if !id.Lasting() {
		k.pid, k.start = t.info.PID, t.info.Start
	}
	return k
}

// Bounds on reading what a process has loaded, which may be files that are larger
// by their own words than any memory, with nothing in them.
const (
	mostTables  = 128 << 20 // bytes of symbols or unwind data of one process; LibreOffice has 40 MiB
	mostCode    = 1 << 30   // bytes of code of one image; a browser has 0.2 GiB
	mostImage   = 512 << 20 // bytes of a file that is read as a whole
	mostLooking = 10 * time.Second
)

var errSlow = errors.New("its images take too long to read")

// late says that a process is so large, or its files are so slow, that it is left
// alone rather than that others wait.
func (t *target) late() error {
	if time.Now().After(t.until) {
		return &busy{reason: errSlow.Error()}
	}
	return nil
}

// outline opens a module's file for reading at most so many bytes of tables.
func outline(f *proc.File, m proc.Module, most uint64) (*image.Outline, error) {
	return image.ReadOutline(f, f.Size, m.Path, most)
}

// whole reads a module's file as a whole.
func (t *target) whole(m proc.Module) (*image.Image, error) {
	if err := t.late(); err != nil {
		return nil, err
	}
	f, err := proc.OpenFile(t.info.PID, m)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readWhole(f, m)
}

func readWhole(f *proc.File, m proc.Module) (*image.Image, error) {
	if f.Size > mostImage {
		return nil, fmt.Errorf("read %s: %d bytes are more than %d", m.Path, f.Size, mostImage)
	}
	return image.Read(f, f.Size, m.Path)
}
