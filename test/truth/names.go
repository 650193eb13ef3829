package main

import (
	"cmp"
	"debug/elf"
	"fmt"
	"slices"
	"strings"

	"hotpatch/internal/image"
)

// side is one image with what its symbols say.
type side struct {
	*image.Image
	vars    []variable // by address
	stems   map[string][]int
	starts  map[image.Addr]string // functions
	aliases map[image.Addr][]string
}

type variable struct {
	name string
	addr image.Addr
	size image.Addr
}

func newSide(m *image.Image) *side {
	s := &side{Image: m, stems: map[string][]int{}, starts: map[image.Addr]string{}, aliases: map[image.Addr][]string{}}
	for i := range m.Symbols {
		y := &m.Symbols[i]
		switch {
		case y.Type == elf.STT_OBJECT && y.Size > 0:
			s.vars = append(s.vars, variable{y.Name, y.Addr, image.Addr(y.Size)})
		case y.Type == elf.STT_FUNC:
			s.starts[y.Addr] = y.Name
			s.aliases[y.Addr] = append(s.aliases[y.Addr], y.Name)
		}
	}
	slices.SortFunc(s.vars, func(a, b variable) int {
		return cmp.Or(cmp.Compare(a.addr, b.addr), cmp.Compare(a.size, b.size), strings.Compare(a.name, b.name))
	})
	s.vars = slices.CompactFunc(s.vars, func(a, b variable) bool { return a.addr == b.addr && a.size == b.size }) // aliases
	for i, v := range s.vars {
		s.stems[stem(v.name)] = append(s.stems[stem(v.name)], i)
	}
	return s
}

// stem is a name without the number that tells static variables of functions
// apart.
func stem(name string) string {
	if k := strings.LastIndexByte(name, '.'); k > 0 && strings.Trim(name[k+1:], "0123456789") == "" {
		return name[:k]
	}
	return name
}

// covering is the variable that holds a; nil: none.
func (s *side) covering(a image.Addr) *variable {
	k, _ := slices.BinarySearchFunc(s.vars, a+1, func(v variable, a image.Addr) int { return cmp.Compare(v.addr, a) })
	for i := k - 1; i >= 0 && i >= k-8; i-- {
		if v := &s.vars[i]; a < v.addr+v.size {
			return v
		}
	}
	return nil
}

// ending is the variable that ends at a.
func (s *side) ending(a image.Addr) *variable {
	if v := s.covering(a - 1); v != nil && v.addr+v.size == a {
		return v
	}
	return nil
}

func (s *side) at(a image.Addr) string {
	if v := s.covering(a); v != nil {
		return fmt.Sprintf("%s+%d", v.name, a-v.addr)
	}
	if n, ok := s.starts[a]; ok {
		return n
	}
	return fmt.Sprintf("%#x", uint64(a))
}

// truth is what the symbols of both images say.
type truth struct{ base, fixed *side }

type outcome uint8

const (
	unnamed outcome = iota // symbols say nothing, or not which of several
	right
	wrong
	resized // the right variable, but it has another size now
)

// counterpart is the variable of the base image that v is. known is false
// when names do not tell which of several; nil, true: it is new.
func (t *truth) counterpart(v *variable) (w *variable, known bool) {
	mine, theirs := t.fixed.stems[stem(v.name)], t.base.stems[stem(v.name)]
	if len(theirs) == 0 {
		return nil, true
	}
	if len(mine) != len(theirs) {
		return nil, false
	}
	for k, i := range mine { // the compiler keeps their order
		a, b := &t.fixed.vars[i], &t.base.vars[theirs[k]]
		if len(mine) > 1 && a.size != b.size {
			return nil, false
		}
		if a.addr == v.addr && a.size == v.size {
			w = b
		}
	}
	return w, w != nil
}

// sameFunction holds "the function at b is that at v" against the names:
// resized, when one is a clone of the other's source.
func (t *truth) sameFunction(b, v image.Addr) outcome {
	x, y := t.base.aliases[b], t.fixed.aliases[v]
	if len(x) == 0 || len(y) == 0 {
		return unnamed
	}
	o := wrong
	for _, m := range x {
		for _, n := range y {
			switch {
			case clone(m) == clone(n):
				return right
			case root(m) == root(n):
				o = resized
			}
		}
	}
	return o
}

// clone is the name with the kinds of its clones, without numbers.
func clone(name string) string {
	var out []string
	for _, part := range strings.Split(name, ".") {
		if strings.Trim(part, "0123456789") != "" && part != "cold" {
			out = append(out, part)
		}
	}
	return strings.Join(out, ".")
}

func root(name string) string {
	name, _, _ = strings.Cut(name, ".")
	return name
}

// judge holds "the place b of the base image is the place v of the fixed one"
// against the names. An address may be meant for the end of what is before it.
func (t *truth) judge(b, v image.Addr) outcome {
	x := t.fixed.covering(v)
	if e := t.fixed.ending(v); e != nil {
		if w, known := t.counterpart(e); known && w != nil && w.addr+w.size == b {
			return right
		}
	}
	if x == nil {
		if w := t.base.covering(b); w != nil && t.fixed.ending(v) == nil {
			if _, known := t.fixed.stems[stem(w.name)]; known {
				return wrong
			}
		}
		return unnamed
	}
	w, known := t.counterpart(x)
	switch {
	case !known:
		return unnamed
	case w == nil || b-w.addr != v-x.addr:
		return wrong
	case w.size != x.size:
		return resized
	}
	return right
}

// judgeNew holds "v is a new variable" against the names.
func (t *truth) judgeNew(v image.Addr) outcome {
	x := t.fixed.covering(v)
	if x == nil {
		return unnamed
	}
	w, known := t.counterpart(x)
	switch {
	case !known:
		return unnamed
	case w != nil:
		return wrong
	}
	return right
}
