// Package internal_test executes the floor table of docs/ARCHITECTURE.md: who
// may import whom, which packages make no system calls, and that only one
// package touches another process. It reads sources; it runs nothing.
package internal_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strconv"
	"strings"
	"testing"
)

// floors is the table. A package imports only from lower floors; siblings do
// not know each other. Packages that are not there yet keep their place.
var floors = [][]string{
	0: {"arch", "image", "seccomp", "window", "deb"},
	1: {"types", "names", "stamps"},
	2: {"diff", "patch", "unwind", "proc", "ptrace"},
	3: {"link", "catalog", "rebuild", "watch"},
	4: {"build", "txn", "repo", "wire", "scan", "rollout"},
	5: {"store", "notify", "agent", "web"},
	6: {"server"},
	7: {"demo", "fleetsim"},
	8: {"cli"},
}

// testOnly is below all floors: tests import it, the product never does, and it
// knows no other package.
const testOnly = "testkit"

// walls are packages that one package must never reach, on any way.
var walls = map[string][]string{
	"server": {"ptrace", "txn", "proc", "unwind"}, // a captured server runs no code
	"agent":  {"store", "rollout", "build"},       // a host decides for itself alone
}

// pure packages give the same output for the same input, anywhere. Those that
// are true here may still open the file they are given.
var pure = map[string]bool{
	"arch": false, "types": false, "names": false, "stamps": false,
	"diff": false, "link": false, "unwind": false,
	"catalog": false, "rollout": false, "seccomp": false, "window": false,
	"image": true, "patch": true,
}

// impure are the imports that would give a pure package the world.
var impure = []string{"os/exec", "net", "syscall", "golang.org/x/sys", "os/signal", "os/user", "math/rand", "crypto/rand"}

const module = "hotpatch/internal/"

func floorOf(pkg string) int {
	for i, f := range floors {
		if slices.Contains(f, pkg) {
			return i
		}
	}
	return -1
}

// source is one parsed file that is not a test.
type source struct {
	pkg  string // directory below internal/
	name string
	file *ast.File
}

func (s source) imports() []string {
	var paths []string
	for _, i := range s.file.Imports {
		p, err := strconv.Unquote(i.Path.Value)
		if err != nil {
			panic(err) // the parser accepted it
		}
		paths = append(paths, p)
	}
	return paths
}

// readSources parses everything below internal/.
func readSources(t *testing.T) []source {
	t.Helper()
	var all []source
	err := filepath.WalkDir(".", func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && d.Name() == "testdata" {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		all = append(all, source{filepath.ToSlash(filepath.Dir(path)), path, f})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 10 {
		t.Fatalf("found only %d source files: reading the wrong directory?", len(all))
	}
	return all
}

func parse(t *testing.T, pkg, text string) []source {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), pkg+"/x.go", "package x\n"+text, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	return []source{{pkg, pkg + "/x.go", f}}
}

// breaches lists what breaks the rules, each in words.
func breaches(all []source) []string {
	var out []string
	graph := map[string][]string{}
	for _, s := range all {
		out = append(out, floorBreaches(s)...)
		out = append(out, purityBreaches(s)...)
		out = append(out, processBreaches(s)...)
		for _, p := range s.imports() {
			if dep, ok := strings.CutPrefix(p, module); ok {
				graph[s.pkg] = append(graph[s.pkg], dep)
			}
		}
	}
	out = append(out, wallBreaches(graph)...)
	sort.Strings(out)
	return slices.Compact(out)
}

func floorBreaches(s source) []string {
	floor := floorOf(s.pkg)
	if floor < 0 && s.pkg != testOnly {
		return []string{fmt.Sprintf("package %s is on no floor: add it to the table, or better do without it", s.pkg)}
	}
	var out []string
	for _, p := range s.imports() {
		dep, ok := strings.CutPrefix(p, module)
		if !ok {
			continue
		}
		switch f := floorOf(dep); {
		case dep == testOnly:
			out = append(out, fmt.Sprintf("%s: %s imports %s, which is for tests alone", s.name, s.pkg, dep))
		case f == floor:
			out = append(out, fmt.Sprintf("%s: %s imports its sibling %s (floor %d)", s.name, s.pkg, dep, f))
		case f > floor:
			out = append(out, fmt.Sprintf("%s: %s (floor %d) imports %s (floor %d): only downward", s.name, s.pkg, floor, dep, f))
		}
	}
	return out
}

func purityBreaches(s source) []string {
	mayOpen, isPure := pure[s.pkg]
	if !isPure {
		return nil
	}
	var out []string
	for _, p := range s.imports() {
		if p == "syscall" && mayOpen {
			continue // its O_ constants, see below
		}
		for _, ban := range impure {
			if p == ban || strings.HasPrefix(p, ban+"/") {
				out = append(out, fmt.Sprintf("%s: pure package %s imports %s", s.name, s.pkg, p))
			}
		}
		if p == "os" && !mayOpen {
			out = append(out, fmt.Sprintf("%s: pure package %s imports os", s.name, s.pkg))
		}
	}
	ast.Inspect(s.file, func(n ast.Node) bool {
		sel, ok := n.(*ast.SelectorExpr)
		switch {
		case !ok:
		case isIdent(sel.X, "time") && slices.Contains([]string{"Now", "Since", "Until", "Sleep"}, sel.Sel.Name):
			out = append(out, fmt.Sprintf("%s: pure package %s asks the clock (time.%s)", s.name, s.pkg, sel.Sel.Name))
		case isIdent(sel.X, "syscall") && !strings.HasPrefix(sel.Sel.Name, "O_"):
			out = append(out, fmt.Sprintf("%s: pure package %s uses syscall.%s", s.name, s.pkg, sel.Sel.Name))
		}
		return true
	})
	return out
}

// processBreaches finds ways to touch another process outside ptrace:
// ptrace(2), process_vm_writev, raw system calls, and /proc/PID/mem, which
// proc may open for reading only (so it may open nothing for writing).
func processBreaches(s source) []string {
	if s.pkg == "ptrace" {
		return nil
	}
	var out []string
	found := func(what string) {
		out = append(out, fmt.Sprintf("%s: %s: only package ptrace may touch another process", s.name, what))
	}
	ast.Inspect(s.file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.SelectorExpr:
			if !isIdent(n.X, "unix") && !isIdent(n.X, "syscall") && !isIdent(n.X, "os") {
				return true
			}
			name := n.Sel.Name
			switch {
			case name == "SYS_PTRACE", strings.HasPrefix(name, "Ptrace"), strings.HasPrefix(name, "PTRACE_"),
				name == "ProcessVMWritev", name == "SYS_PROCESS_VM_WRITEV":
				found(name)
			case s.pkg != "proc" && (strings.HasPrefix(name, "Syscall") || strings.HasPrefix(name, "RawSyscall")):
				found("raw system call " + name)
			case s.pkg == "proc" && slices.Contains([]string{"O_RDWR", "O_WRONLY", "Create", "WriteFile", "Pwrite", "Write"}, name):
				found("proc writes (" + name + ")")
			}
		case *ast.BasicLit:
			if n.Kind == token.STRING && s.pkg != "proc" {
				if text, err := strconv.Unquote(n.Value); err == nil && (strings.HasSuffix(text, "/mem") || text == "mem") {
					found(n.Value)
				}
			}
		}
		return true
	})
	return out
}

func isIdent(e ast.Expr, name string) bool {
	id, ok := e.(*ast.Ident)
	return ok && id.Name == name
}

func wallBreaches(graph map[string][]string) []string {
	var out []string
	for from, bans := range walls {
		for _, ban := range bans {
			if way := path(graph, from, ban, nil); way != nil {
				out = append(out, fmt.Sprintf("%s reaches %s: %s", from, ban, strings.Join(way, " → ")))
			}
		}
	}
	return out
}

// path is a way from one package to another, nil when there is none.
func path(graph map[string][]string, from, to string, seen []string) []string {
	if from == to {
		return []string{to}
	}
	if slices.Contains(seen, from) {
		return nil
	}
	for _, dep := range graph[from] {
		if way := path(graph, dep, to, append(seen, from)); way != nil {
			return append([]string{from}, way...)
		}
	}
	return nil
}

func TestPackagesKeepToTheirFloors(t *testing.T) {
	for _, b := range breaches(readSources(t)) {
		t.Error(b)
	}
}

func TestFloorRulesCatchBreaches(t *testing.T) {
	for _, c := range []struct{ name, pkg, text, want string }{
		{"unknown package", "util", ``, "on no floor"},
		{"package below another", "txn/deep", ``, "on no floor"},
		{"sibling", "diff", `import _ "hotpatch/internal/patch"`, "imports its sibling patch"},
		{"test kit in the product", "cli", `import _ "hotpatch/internal/testkit"`, "for tests alone"},
		{"test kit that knows the product", "testkit", `import _ "hotpatch/internal/arch"`, "only downward"},
		{"upward", "patch", `import _ "hotpatch/internal/txn"`, "only downward"},
		{"network in a pure package", "diff", `import _ "net/http"`, "imports net/http"},
		{"system calls in a pure package", "image", `import _ "golang.org/x/sys/unix"`, "imports golang.org/x/sys/unix"},
		{"system calls in one that may open files", "patch", `import "syscall"; var x = syscall.Getpid()`, "uses syscall.Getpid"},
		{"files in a pure package", "arch", `import _ "os"`, "imports os"},
		{"clock in a pure package", "link", `import "time"; var t = time.Now()`, "asks the clock"},
		{"ptrace", "txn", `var x = unix.SYS_PTRACE`, "SYS_PTRACE"},
		{"ptrace by name", "cli", `var x = unix.PtraceSeize`, "PtraceSeize"},
		{"remote write", "scan", `var x = unix.ProcessVMWritev`, "ProcessVMWritev"},
		{"raw system call", "demo", `var x = syscall.RawSyscall6`, "RawSyscall6"},
		{"memory file", "txn", `var x = fmt.Sprintf("/proc/%d/mem", 1)`, "/mem"},
		{"writing proc", "proc", `var x, y = os.OpenFile("x", os.O_RDWR, 0)`, "proc writes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := strings.Join(breaches(parse(t, c.pkg, c.text)), "\n"); !strings.Contains(got, c.want) {
				t.Errorf("got %q, want it to say %q", got, c.want)
			}
		})
	}
	t.Run("wall", func(t *testing.T) {
		all := append(parse(t, "server", `import _ "hotpatch/internal/agent"`), parse(t, "agent", `import _ "hotpatch/internal/scan"`)...)
		all = append(all, parse(t, "scan", `import _ "hotpatch/internal/proc"`)...)
		if got := strings.Join(breaches(all), "\n"); !strings.Contains(got, "server → agent → scan → proc") {
			t.Errorf("got %q", got)
		}
	})
	t.Run("nothing wrong", func(t *testing.T) {
		if got := breaches(parse(t, "txn", `import _ "hotpatch/internal/ptrace"`)); len(got) != 0 {
			t.Errorf("got %q", got)
		}
	})
}

// docs/ARCHITECTURE.md shows the same table to people.
func TestFloorTableIsTheDocumentedOne(t *testing.T) {
	text, err := os.ReadFile("../docs/ARCHITECTURE.md")
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	floor := ""
	for _, line := range strings.Split(string(text), "\n") {
		cells := strings.Split(line, "|")
		if len(cells) < 4 {
			continue
		}
		if n := strings.TrimSpace(cells[1]); n != "" {
			floor = n
		}
		for _, name := range strings.Split(cells[2], ",") {
			name = strings.Trim(name, " `")
			if floorOf(name) >= 0 {
				got[name] = floor
			}
		}
	}
	for i, f := range floors {
		for _, pkg := range f {
			if got[pkg] != strconv.Itoa(i) {
				t.Errorf("docs/ARCHITECTURE.md puts %s on floor %q, the table here on %d", pkg, got[pkg], i)
			}
		}
	}
}
