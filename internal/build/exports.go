package build

import (
	"debug/elf"

	"hotpatch/internal/diff"
	"hotpatch/internal/image"
)

// exports: other programs and libraries, and whoever asks dlsym, find functions by
// name in the running image. A name that stands for another function in the fixed
// image cannot be given to it: what was one function under two names cannot be
// told apart any more, and a function that became another name of one would go on
// in its old form.
func (j *judge) exports() {
	for _, m := range j.d.Moved() {
		name := m.Name
		if m.Version != "" {
			name += "@" + m.Version
		}
		j.r.add(exportMoved, name, "whoever calls it by name gets %s in the running program and %s in the fixed one: %s", hexAddr(m.Base), hexAddr(m.Fixed), m.Why)
	}
	j.withdrawn()
	// The program has room for a variable of a library, and the loader fills it with
	// that of one version.
	copies := map[string]image.Import{}
	for _, p := range j.d.Base.Relocs {
		if p.Type == elf.R_X86_64_COPY {
			copies[p.Sym] = image.Import{Name: p.Sym, Version: p.Version}
		}
	}
	for _, q := range j.d.Fixed.Relocs {
		if p, ok := copies[q.Sym]; ok && q.Type == elf.R_X86_64_COPY && p.Version != q.Version {
			j.r.add(exportMoved, q.Sym, "it is a variable of a library, in version %q instead of %q", q.Version, p.Version)
		}
	}
}

// resolvers: the loader has asked them already which function to call (IFUNC), and
// does not ask again.
func (j *judge) resolvers() {
	for _, f := range j.d.Fixed.Funcs {
		if s, _ := j.d.State(f); f.Resolver && s == diff.Changed {
			j.r.add(startupChanged, label(j.d, f), "it is changed, and tells the loader only once which function to call (IFUNC)")
		}
	}
}
