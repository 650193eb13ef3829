package txn

import (
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"sort"

	"hotpatch/internal/image"
	"hotpatch/internal/proc"
)

// imports finds the run-time addresses of dynamic symbols in the process the
// way its loader would: through the modules in link-map order, first match
// with the right version wins.
type imports struct {
	t       *target
	order   []proc.Module
	symbols map[int][]elf.Symbol // by index in order
}

func (t *target) imports() (*imports, error) {
	order, err := t.loaderOrder()
	if err != nil {
		return nil, err
	}
	return &imports{t: t, order: order, symbols: map[int][]elf.Symbol{}}, nil
}

// lookup is a link.Lookup.
func (im *imports) lookup(name, version string) (uint64, error) {
	for i, m := range im.order {
		syms, err := im.dynamic(i)
		if err != nil {
			return 0, fmt.Errorf("look up %s: %w", name, err)
		}
		for _, s := range syms {
			if s.Name != name || s.Section == elf.SHN_UNDEF || elf.ST_BIND(s.Info) == elf.STB_LOCAL {
				continue
			}
			if s.Version != "" && version != "" && s.Version != version || version == "" && s.HasVersion && s.VersionIndex.IsHidden() {
				continue
			}
			switch elf.ST_TYPE(s.Info) {
			case elf.STT_TLS:
				return 0, fmt.Errorf("look up %s: it is a thread-local variable of %s", name, m.Path)
			case elf.STT_GNU_IFUNC:
				return im.bound(name, version, m, s.Value)
			}
			return m.Bias + s.Value, nil
		}
	}
	return 0, fmt.Errorf("look up %s: no loaded image of the process defines it", versioned(name, version))
}

func (im *imports) dynamic(i int) ([]elf.Symbol, error) {
	if s, ok := im.symbols[i]; ok {
		return s, nil
	}
	r, _, c, err := proc.Open(im.t.info.PID, im.order[i])
	if err != nil {
		return nil, err
	}
	defer c.Close()
	f, err := elf.NewFile(r)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", im.order[i].Path, err)
	}
	s, err := f.DynamicSymbols()
	if err != nil && !errors.Is(err, elf.ErrNoSymbols) {
		return nil, fmt.Errorf("read symbols of %s: %w", im.order[i].Path, err)
	}
	im.symbols[i] = s
	return s, nil
}

// bound finds what an IFUNC was resolved to: its resolver may only run in the
// process itself, so slots that the loader has filled already are the only
// source. Those are in the image that defines it, for its own calls
// (IRELATIVE, always filled), or in one that imports it; there a lazily bound
// slot still leads back into its own image.
func (im *imports) bound(name, version string, definer proc.Module, resolver uint64) (uint64, error) {
	for _, m := range append([]proc.Module{definer}, im.order...) {
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

func (im *imports) image(m proc.Module) (*image.Image, error) {
	r, n, c, err := proc.Open(im.t.info.PID, m)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	return image.Read(r, n, m.Path)
}

// word reads 8 bytes.
func (t *target) word(at uint64) (uint64, error) {
	var b [8]byte
	_, err := t.mem.ReadAt(b[:], int64(at))
	return binary.LittleEndian.Uint64(b[:]), err
}

// loaderOrder sorts the modules as in the loader's link map, found through
// DT_DEBUG of the executable (elf/link.h: struct r_debug, struct link_map).
// Modules that are not in it keep their order behind the others.
func (t *target) loaderOrder() ([]proc.Module, error) {
	rank := map[uint64]int{} // bias → position
	for _, m := range t.modules {
		debug, err := t.debugPointer(m)
		if err != nil || debug == 0 {
			continue
		}
		lm, err := t.word(debug + 8) // r_map
		for n := 0; err == nil && lm != 0 && n < 4096; n++ {
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
	var out []proc.Module
	for _, m := range t.modules {
		if m.Path != "[vdso]" {
			out = append(out, m)
		}
	}
	at := func(m proc.Module) int {
		if n, ok := rank[m.Bias]; ok {
			return n
		}
		return len(rank)
	}
	sort.SliceStable(out, func(a, b int) bool { return at(out[a]) < at(out[b]) })
	return out, nil
}

// debugPointer reads DT_DEBUG from the dynamic section in memory; 0: none.
func (t *target) debugPointer(m proc.Module) (uint64, error) {
	r, _, c, err := proc.Open(t.info.PID, m)
	if err != nil {
		if m.Path == "[vdso]" {
			return 0, nil
		}
		return 0, err
	}
	defer c.Close()
	f, err := elf.NewFile(r)
	if err != nil {
		return 0, err
	}
	for _, p := range f.Progs {
		if p.Type != elf.PT_DYNAMIC || p.Memsz > 1<<16 {
			continue
		}
		b := make([]byte, p.Memsz&^15)
		if _, err := t.mem.ReadAt(b, int64(m.Bias+p.Vaddr)); err != nil {
			return 0, err
		}
		for ; len(b) > 0; b = b[16:] {
			if elf.DynTag(binary.LittleEndian.Uint64(b)) == elf.DT_DEBUG {
				return binary.LittleEndian.Uint64(b[8:]), nil
			}
		}
	}
	return 0, nil
}

func versioned(name, version string) string {
	if version == "" {
		return name
	}
	return name + "@" + version
}
