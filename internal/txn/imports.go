package txn

import (
	"cmp"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"path"
	"slices"

	"hotpatch/internal/image"
	"hotpatch/internal/link"
	"hotpatch/internal/proc"
)

// imports finds the run-time addresses of dynamic symbols in the process the
// way its loader would. Nothing is read before the first lookup: most
// hotpatches import nothing.
type imports struct {
	t     *target
	files []*loaded // in link-map order; nil: not read yet
	left  uint64    // how much more may be read of them
}

// loaded is what the search needs of one module.
type loaded struct {
	proc.Module
	soname  string
	needed  []string
	symbols []image.DynamicSymbol
}

func newImports(t *target) *imports { return &imports{t: t, left: mostTables} }

// of is the link.Lookup for code that stands in for a module's.
func (im *imports) of(m proc.Module) func(name, version string) (uint64, error) {
	return func(name, version string) (uint64, error) {
		if im.files == nil {
			if err := im.read(); err != nil {
				return 0, err
			}
		}
		if !slices.ContainsFunc(im.files, func(f *loaded) bool { return f.Bias == m.Bias && f.BuildID == m.BuildID }) {
			return 0, fmt.Errorf("look up %s: %s is loaded into a namespace of its own (dlmopen), whose libraries are not known", versioned(name, version), m.Path)
		}
		v, err := im.lookup(im.scope(m), name, version)
		if errors.Is(err, link.ErrUndefined) {
			// What another library defines counts where that was opened for all to use
			// (RTLD_GLOBAL), or together with this one: nobody can tell.
			if _, aerr := im.lookup(im.files, name, version); !errors.Is(aerr, link.ErrUndefined) {
				return 0, fmt.Errorf("look up %s: only a library that was opened later defines it", versioned(name, version))
			}
		}
		return v, err
	}
}

func (im *imports) read() error {
	order, err := im.t.loaderOrder()
	if err != nil {
		return err
	}
	for _, m := range order {
		f, err := im.open(m)
		if err != nil {
			return err
		}
		im.files = append(im.files, f)
	}
	return nil
}

func (im *imports) open(m proc.Module) (*loaded, error) {
	if err := im.t.late(); err != nil {
		return nil, err
	}
	f, err := proc.OpenFile(im.t.info.PID, m)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	o, err := outline(f, m, im.left)
	if err != nil {
		return nil, err
	}
	l := &loaded{Module: m, soname: path.Base(m.Path)}
	if l.symbols, err = o.Symbols(); err != nil {
		return nil, err
	}
	asks, err := o.Loading()
	if err != nil {
		return nil, err
	}
	im.left -= o.Cost()
	l.needed, l.soname = asks.Needed, cmp.Or(asks.Soname, l.soname)
	return l, nil
}

// scope is where the loader looks for what m refers to, in its order: the
// executable, what was preloaded (it stands before the executable's first own
// library), what these need, and what m needs. Other libraries that the
// program has opened are private as far as anybody can tell.
func (im *imports) scope(m proc.Module) []*loaded {
	in := map[*loaded]bool{}
	var need func(l *loaded)
	need = func(l *loaded) {
		if in[l] {
			return
		}
		in[l] = true
		for _, n := range l.needed {
			for _, f := range im.files {
				if f.soname == n {
					need(f)
					break
				}
			}
		}
	}
	exe := im.files[0]
	need(exe)
	for _, f := range im.files[1:] {
		if slices.Contains(exe.needed, f.soname) {
			break
		}
		need(f)
	}
	for _, f := range im.files {
		if f.Bias == m.Bias && f.BuildID == m.BuildID {
			need(f)
		}
	}
	return slices.DeleteFunc(slices.Clone(im.files), func(f *loaded) bool { return !in[f] })
}

// lookup takes the first definition with the right version.
func (im *imports) lookup(scope []*loaded, name, version string) (uint64, error) {
	for _, m := range scope {
		for _, s := range m.symbols {
			if s.Name != name || s.Undefined || s.Local {
				continue
			}
			if s.Version != "" && version != "" && s.Version != version || version == "" && s.Hidden {
				continue
			}
			if version == "" && m.versions(name) > 1 {
				return 0, fmt.Errorf("look up %s: %s defines it in several versions, and which is meant is not said", name, m.Path)
			}
			switch s.Type {
			case elf.STT_TLS:
				return 0, fmt.Errorf("look up %s: it is a thread-local variable of %s", name, m.Path)
			case elf.STT_GNU_IFUNC:
				return im.bound(name, version, m.Module, s.Value)
			}
			if s.Absolute {
				return s.Value, nil
			}
			return m.Bias + s.Value, nil
		}
	}
	return 0, fmt.Errorf("look up %s: neither the program nor a library that it was started with defines it: %w", versioned(name, version), link.ErrUndefined)
}

// versions is how many places the module has for a name. The loader gives who asks
// for no version the oldest one, dlsym the newest.
func (l *loaded) versions(name string) int {
	at := map[uint64]bool{}
	for _, s := range l.symbols {
		if s.Name == name && !s.Undefined && !s.Local {
			at[s.Value] = true
		}
	}
	return len(at)
}

// bound finds what an IFUNC was resolved to: its resolver may only run in the
// process itself, so slots that the loader has filled already are the only
// source. Those are in the image that defines it, for its own calls
// (IRELATIVE, always filled), or in one that imports it; there a lazily bound
// slot still leads back into its own image.
func (im *imports) bound(name, version string, definer proc.Module, resolver uint64) (uint64, error) {
	modules := []proc.Module{definer}
	for _, f := range im.files {
		modules = append(modules, f.Module)
	}
	for _, m := range modules {
		img, err := im.image(m)
		if err != nil {
			continue // this image cannot help; another may
		}
		if m.Bias == definer.Bias {
			for _, r := range img.Relocs {
				if r.Type != elf.R_X86_64_IRELATIVE || uint64(r.Add) != resolver {
					continue
				}
				v, err := im.t.word(m.Bias + uint64(r.At))
				if err == nil && v >= m.Lo() && v < m.Hi() && v != m.Bias+resolver {
					return v, nil
				}
			}
		}
		slot, ok := img.GOTOf(name, version)
		if !ok {
			continue
		}
		v, err := im.t.word(m.Bias + uint64(slot))
		if err != nil {
			return 0, err
		}
		if v != 0 && (v < m.Lo() || v >= m.Hi()) {
			return v, nil
		}
	}
	return 0, fmt.Errorf("look up %s: it is chosen at run time (IFUNC) and no image of the process has it bound yet", name)
}

func (im *imports) image(m proc.Module) (*image.Image, error) { return im.t.whole(m) }

// word reads 8 bytes.
func (t *target) word(at uint64) (uint64, error) {
	var b [8]byte
	_, err := t.mem.ReadAt(b[:], int64(at))
	return binary.LittleEndian.Uint64(b[:]), err
}

const maxLinkMap = 1 << 16

// loaderOrder sorts the modules as in the loader's link map, found through
// DT_DEBUG of the executable (elf/link.h: struct r_debug, struct link_map).
// Modules that are not in it (another namespace) are left out.
func (t *target) loaderOrder() ([]proc.Module, error) {
	rank := map[uint64]int{} // bias → position
	for _, m := range t.modules {
		debug, err := t.debugPointer(m)
		if err != nil || debug == 0 {
			continue
		}
		lm, err := t.word(debug + 8) // r_map
		for n := 0; err == nil && lm != 0; n++ {
			if n == maxLinkMap {
				return nil, fmt.Errorf("read link map: more than %d entries", maxLinkMap)
			}
			var bias uint64
			if bias, err = t.word(lm); err != nil { // l_addr
				break
			}
			if _, seen := rank[bias]; !seen {
				rank[bias] = n
			}
			lm, err = t.word(lm + 24) // l_next
		}
		if err != nil {
			return nil, fmt.Errorf("read link map: %w", err)
		}
		break
	}
	if len(rank) == 0 {
		return nil, errors.New("read link map: the process has none (static, or not started yet)")
	}
	out := slices.DeleteFunc(slices.Clone(t.modules), func(m proc.Module) bool {
		_, listed := rank[m.Bias]
		return m.Path == "[vdso]" || !listed
	})
	slices.SortFunc(out, func(a, b proc.Module) int { return cmp.Compare(rank[a.Bias], rank[b.Bias]) })
	if len(out) == 0 {
		return nil, errors.New("read link map: it lists none of the loaded images")
	}
	return out, nil
}

// debugPointer reads DT_DEBUG from the dynamic section in memory; 0: none.
func (t *target) debugPointer(m proc.Module) (uint64, error) {
	if m.Path == "[vdso]" {
		return 0, nil
	}
	at, size, err := t.dynamic(m)
	if err != nil || size == 0 || size > 1<<16 {
		return 0, err
	}
	b := make([]byte, size&^15)
	if _, err := t.mem.ReadAt(b, int64(at)); err != nil {
		return 0, err
	}
	for ; len(b) > 0; b = b[16:] {
		if elf.DynTag(binary.LittleEndian.Uint64(b)) == elf.DT_DEBUG {
			return binary.LittleEndian.Uint64(b[8:]), nil
		}
	}
	return 0, nil
}

// dynamic is where a module's dynamic section is; size 0: it has none.
func (t *target) dynamic(m proc.Module) (at, size uint64, err error) {
	if ps, err := t.programHeaders(m); err == nil {
		for _, p := range ps {
			if elf.ProgType(p.Type) == elf.PT_DYNAMIC {
				return m.Bias + p.Vaddr, p.Memsz, nil
			}
		}
		return 0, 0, nil
	}
	f, err := proc.OpenFile(t.info.PID, m)
	if err != nil {
		return 0, 0, err
	}
	defer f.Close()
	o, err := outline(f, m, mostTables)
	if err != nil {
		return 0, 0, err
	}
	if vaddr, size := o.Segment(elf.PT_DYNAMIC); size > 0 {
		return m.Bias + uint64(vaddr), size, nil
	}
	return 0, 0, nil
}

func versioned(name, version string) string {
	if version == "" {
		return name
	}
	return name + "@" + version
}
