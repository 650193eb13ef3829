package diff

import (
	"debug/elf"
	"path"
	"strings"

	"hotpatch/internal/image"
)

// sources are the source files that both images name once. Static functions and
// variables of one name are others where they are of different ones of these.
type sources map[string]bool

func sharedSources(base, fixed *image.Image) sources {
	count := func(m *image.Image) map[string]int {
		out := map[string]int{}
		for _, s := range m.Sources {
			out[s]++
		}
		return out
	}
	out := sources{}
	was := count(base)
	for name, n := range count(fixed) {
		if n == 1 && was[name] == 1 && isSource(name) {
			out[name] = true
		}
	}
	return out
}

// isSource leaves out what is called otherwise in each build: parts of a program that
// LTO or rustc cut as they liked.
func isSource(name string) bool {
	if strings.Contains(name, ".ltrans") {
		return false
	}
	switch strings.ToLower(path.Ext(name)) {
	case ".c", ".cc", ".cpp", ".cxx", ".c++", ".m", ".mm", ".s", ".f", ".f90":
		return true
	}
	return false
}

// of is the file of a symbol, "" when it tells nothing.
func (s sources) of(file string) string {
	if !s[file] {
		return ""
	}
	return file
}

// apart says that two files that symbols are of are two.
func (s sources) apart(a, b string) bool { return a != b && s[a] && s[b] }

// nameSources notes the files of the static functions.
func (c *Code) nameSources() {
	var global map[*Func]bool
	for i := range c.Symbols {
		s := &c.Symbols[i]
		if s.Type != elf.STT_FUNC {
			continue
		}
		f := c.Entry(s.Addr)
		switch {
		case f == nil || len(f.Names) == 0 || s.Local && s.Source == "":
		case !s.Local || f.file != "" && f.file != s.Source:
			if global == nil {
				global = map[*Func]bool{}
			}
			global[f] = true
			f.file = ""
		case !global[f]:
			f.file = s.Source
		}
	}
}

// ofOneSource are the functions that are the only ones of their name and file.
func (s sources) ofOneSource(fs []*Func) map[string]*Func {
	out := map[string]*Func{}
	for _, f := range fs {
		file := s.of(f.file)
		if file == "" {
			continue
		}
		if _, twice := out[file]; twice {
			f = nil
		}
		out[file] = f
	}
	return out
}

// elsewhere says that a and b are static functions of two files.
func (d *Diff) elsewhere(a, b *Func) bool { return d.sources.apart(a.file, b.file) }

// pairSources pairs functions of one name by their files.
func (d *Diff) pairSources(x, y []*Func) {
	was := d.sources.ofOneSource(x)
	if len(was) == 0 {
		return
	}
	now := d.sources.ofOneSource(y)
	for _, b := range y {
		if a := was[b.file]; a != nil && now[b.file] == b {
			d.join(a, b, byName)
		}
	}
}
