package cli_test

import (
	"archive/tar"
	"bytes"
	"fmt"
	"os"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// mkdeb FILE NAME VERSION [PATH=FILE]... writes a package of source src-NAME
// whose newest changelog entry names a CVE.
func mkdeb(ts *testscript.TestScript, _ bool, args []string) {
	file, name, version := args[0], args[1], args[2]
	control := fmt.Sprintf("Package: %s\nSource: src-%s\nVersion: %s\nArchitecture: amd64\n", name, name, version)
	log := fmt.Sprintf("src-%s (%s) stable; urgency=high\n\n  * Check the length (CVE-2026-0815).\n\n -- A <a@b>  Thu, 01 Jan 2026 00:00:00 +0000\n", name, version)
	names, contents := []string{"./usr/share/doc/" + name + "/changelog.Debian"}, [][]byte{[]byte(log)}
	for _, f := range args[3:] {
		path, from, _ := strings.Cut(f, "=")
		names, contents = append(names, "."+path), append(contents, []byte(ts.ReadFile(from)))
	}
	out := []byte("!<arch>\n")
	for _, m := range []struct {
		name string
		data []byte
	}{
		{"debian-binary", []byte("2.0\n")},
		{"control.tar", tarOf(ts, []string{"./control"}, [][]byte{[]byte(control)})},
		{"data.tar", tarOf(ts, names, contents)},
	} {
		out = fmt.Appendf(out, "%-16s%-12d%-6d%-6d%-8o%-10d`\n", m.name, 0, 0, 0, 0o100644, len(m.data))
		out = append(out, m.data...)
		if len(m.data)%2 == 1 {
			out = append(out, '\n')
		}
	}
	ts.Check(os.WriteFile(ts.MkAbs(file), out, 0o644))
}

func tarOf(ts *testscript.TestScript, names []string, contents [][]byte) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for i, name := range names {
		ts.Check(w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o755, Size: int64(len(contents[i])), Format: tar.FormatGNU}))
		_, err := w.Write(contents[i])
		ts.Check(err)
	}
	ts.Check(w.Close())
	return b.Bytes()
}
