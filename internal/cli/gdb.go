package cli

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"hotpatch/internal/patch"
	"hotpatch/internal/proc"
	"hotpatch/internal/txn"
)

// gdb prints the commands that make a debugger know the code which a hotpatch
// brought into processes. gdb reads symbols and unwind data from files, so the
// objects are written below the user's cache directory.
func (a *app) gdb(file string, b *patch.Bundle, pids []int) error {
	id, err := b.ID()
	if err != nil {
		return fmt.Errorf("identify %s: %w", file, err)
	}
	denied := map[int]error{}
	if len(pids) == 0 {
		var cs []txn.Carrier
		if cs, denied, err = txn.Patched(id); err != nil {
			return fmt.Errorf("look for patched processes: %w", err)
		}
		for _, c := range cs {
			pids = append(pids, c.PID)
		}
	}
	var w strings.Builder
	dir := ""
	for _, pid := range pids {
		images, err := patchedImages(pid, id)
		if err != nil {
			return err
		}
		if len(images) == 0 {
			return &exitError{code: exitRefused, err: fmt.Errorf("process %d does not carry hotpatch %s", pid, file)}
		}
		if dir == "" {
			if dir, err = writeObjects(b, id); err != nil {
				return err
			}
		}
		if err := gdbCommands(&w, b, pid, images, dir); err != nil {
			return err
		}
	}
	if dir == "" {
		e := &exitError{code: exitRefused, err: fmt.Errorf("no process carries hotpatch %s", file)}
		if len(denied) > 0 {
			e.hint = count(len(denied), "process") + " could not be examined: try as root"
		}
		return e
	}
	if _, err := io.WriteString(a.out, w.String()); err != nil {
		return err
	}
	if isTerminal(a.out) {
		a.hint(fmt.Sprintf("hotpatch inspect %s --gdb --pid %d > x.gdb; gdb -p %d -x x.gdb", file, pids[0], pids[0]))
	}
	return nil
}

func patchedImages(pid int, id patch.ID) ([]txn.StateImage, error) {
	states, err := txn.Status(pid)
	if err != nil {
		return nil, fmt.Errorf("read state of process %d: %w", pid, err)
	}
	for _, s := range states {
		if s.ID == id {
			return s.Images, nil
		}
	}
	return nil, nil
}

// gdbCommands: gdb adds OFFSET to every address of the object.
func gdbCommands(w io.Writer, b *patch.Bundle, pid int, images []txn.StateImage, dir string) error {
	comm := ""
	if info, err := proc.Read(pid); err == nil {
		comm = " (" + plain(info.Comm) + ")"
	}
	fmt.Fprintf(w, "# process %d%s\nset confirm off\n", pid, comm)
	for _, im := range images {
		i := slices.IndexFunc(b.Manifest.Images, func(m patch.Image) bool { return m.BuildIDBase == im.BuildID })
		if i < 0 || im.Code < b.Objects[i].Lo {
			return fmt.Errorf("process %d carries code for %s (build-id %s) that is not in the file", pid, plain(im.Path), im.BuildID)
		}
		fmt.Fprintf(w, "add-symbol-file %s -o %#x\n", gdbQuote(filepath.Join(dir, b.Manifest.Images[i].Object)), im.Code-b.Objects[i].Lo)
	}
	fmt.Fprintln(w, "set confirm on")
	return nil
}

// gdbQuote is a file name for gdb, which splits arguments as a shell does.
func gdbQuote(s string) string {
	if strings.ContainsAny(s, " \t'\"\\") {
		return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
	}
	return s
}

// writeObjects writes the objects of a bundle and returns their directory, which
// is named after the id: what is there already is the same.
func writeObjects(b *patch.Bundle, id patch.ID) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find a place for the objects: %w", err)
	}
	dir := filepath.Join(cache, "hotpatch", "objects", id.Short())
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("make directory for the objects: %w", err)
	}
	for i, o := range b.Objects {
		data, err := o.Encode()
		if err != nil {
			return "", fmt.Errorf("encode %s: %w", b.Manifest.Images[i].Object, err)
		}
		if err := os.WriteFile(filepath.Join(dir, b.Manifest.Images[i].Object), data, 0o600); err != nil {
			return "", fmt.Errorf("write object: %w", err)
		}
	}
	return dir, nil
}
