package cli

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"

	"hotpatch/internal/patch"
	"hotpatch/internal/txn"
)

// perfMap prints the lines by which perf names the code that a hotpatch brought
// into a process: the contents of /tmp/perf-PID.map. A program that compiles
// code itself writes that file, too, so it is not written here.
func (a *app) perfMap(file string, b *patch.Bundle, pid int) error {
	id, err := b.ID()
	if err != nil {
		return fmt.Errorf("identify %s: %w", file, err)
	}
	images, err := patchedImages(pid, id)
	if err != nil {
		return err
	}
	if len(images) == 0 {
		return &exitError{code: exitRefused, err: fmt.Errorf("process %d does not carry hotpatch %s", pid, file)}
	}
	text, err := perfLines(b, id, images)
	if err != nil {
		return fmt.Errorf("process %d: %w", pid, err)
	}
	if _, err := io.WriteString(a.out, text); err != nil {
		return err
	}
	if isTerminal(a.out) {
		a.hint(fmt.Sprintf("hotpatch inspect %s --perf-map --pid %d >> /tmp/perf-%d.map", file, pid, pid))
	}
	return nil
}

// perfLines is "START SIZE NAME" for every carried function, by address:
// tools/perf/Documentation/jit-interface.txt of the kernel.
func perfLines(b *patch.Bundle, id patch.ID, images []txn.StateImage) (string, error) {
	type line struct {
		start, size uint64
		name        string
	}
	var lines []line
	for _, im := range images {
		i := slices.IndexFunc(b.Manifest.Images, func(m patch.Image) bool { return m.BuildIDBase == im.BuildID })
		if i < 0 {
			return "", fmt.Errorf("it carries code for %s (build-id %s) that is not in the file", plain(im.Path), im.BuildID)
		}
		o := b.Objects[i]
		for _, s := range o.Symbols {
			if s.Kind == patch.Internal && s.Func && s.Value >= o.Lo && s.Value < o.Hi {
				lines = append(lines, line{im.Code + s.Value - o.Lo, s.Size, s.Name})
			}
		}
	}
	slices.SortFunc(lines, func(x, y line) int {
		return cmp.Or(cmp.Compare(x.start, y.start), cmp.Compare(x.name, y.name))
	})
	var w strings.Builder
	for _, l := range lines {
		fmt.Fprintf(&w, "%x %x %s [hotpatch %s]\n", l.start, l.size, plain(l.name), id.Short())
	}
	return w.String(), nil
}

// moreThanOne says whether flags that exclude each other were given together.
func moreThanOne(flags ...bool) bool {
	n := 0
	for _, f := range flags {
		if f {
			n++
		}
	}
	return n > 1
}
