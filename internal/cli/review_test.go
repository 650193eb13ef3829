package cli_test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"hotpatch/internal/cli"
	"hotpatch/internal/testkit"
)

const reviewedProgram = `
#include <stdio.h>
#include <stdlib.h>
double scale;
int seen;
static const unsigned char weights[40] = {1, 2, 3, 5, 7, 11, 13, WEIGHT, 19, 23};
__attribute__((noinline)) int kind(int n, const char *s)
{
	switch (n) {
	case 0: puts("zero"); seen += 3; break;
	case 1: scale *= FACTOR; break;
	case 2: return atoi(s);
	case 3: puts(TEXT); break;
	case 4: scale += 2.5; seen--; break;
	case 5: return weights[seen & 31];
	case 6: abort();
	}
	return MORE seen;
}
__attribute__((noinline)) int caller(int n, char **v) { return kind(n, v[0]) + 1; }
int main(int n, char **v) { return caller(n, v); }
`

// reviewed is what a test reads of review --json.
type reviewed struct {
	Images []struct {
		Recorded  bool
		Functions []struct {
			Name, State    string
			Proved         bool
			Callers        []string
			Removed, Added []string
			Code           []struct{ Op, Text, Note, Label string }
		}
	}
}

// reviewOf builds a bundle of the program compiled with two sets of flags and
// reviews it.
func reviewOf(t *testing.T, before, after []string) reviewed {
	t.Helper()
	testkit.Tools(t, "gcc")
	dir := t.TempDir()
	source := filepath.Join(dir, "p.c")
	if err := os.WriteFile(source, []byte(reviewedProgram), 0o644); err != nil {
		t.Fatal(err)
	}
	compile := func(name string, flags []string) string {
		path := filepath.Join(dir, name, "p")
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		args := append([]string{"-O2", "-fPIE", "-pie", "-Wl,--build-id=sha1", "-o", path, source}, flags...)
		if text, err := exec.Command("gcc", args...).CombinedOutput(); err != nil {
			t.Fatalf("gcc %v: %v\n%s", args, err, text)
		}
		return path
	}
	file := filepath.Join(dir, "p.hotpatch")
	var out, errs bytes.Buffer
	cli.Main([]string{"build", compile("base", before), compile("fixed", after), "-o", file}, nil, &out, &errs)
	if _, err := os.Stat(file); err != nil {
		t.Fatalf("nothing was built:\n%s%s", &out, &errs)
	}
	out.Reset()
	if code := cli.Main([]string{"review", file, "--json"}, nil, &out, &errs); code != 0 {
		t.Fatalf("review: exit code %d: %s", code, &errs)
	}
	var r reviewed
	if err := json.Unmarshal(out.Bytes(), &r); err != nil {
		t.Fatal(err)
	}
	return r
}

func flags(weight, factor, text, more string) []string {
	return []string{"-DWEIGHT=" + weight, "-DFACTOR=" + factor, `-DTEXT="` + text + `"`, "-DMORE=" + more}
}

func TestReviewMarksOnlyWhatDiffers(t *testing.T) {
	for _, c := range []struct {
		name           string
		after          []string
		removed, added []string // among the strings and constants
		marked         int      // at most so many lines
	}{
		{"a string", flags("17", "1.5", "another", ""), []string{`"three"`}, []string{`"another"`}, 2},
		{"a constant", flags("17", "1.25", "three", ""), []string{"0x3ff8000000000000"}, []string{"0x3ff4000000000000"}, 2},
		{"a table", flags("18", "1.5", "three", ""), nil, nil, 2},
		{"an instruction", flags("17", "1.5", "three", "7+"), nil, nil, 12},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := reviewOf(t, flags("17", "1.5", "three", ""), c.after)
			if len(r.Images) != 1 || !r.Images[0].Recorded || len(r.Images[0].Functions) != 1 {
				t.Fatalf("got %+v", r)
			}
			f := r.Images[0].Functions[0]
			if f.Name != "kind" || f.State != "changed" || !f.Proved || !slices.Equal(f.Callers, []string{"caller"}) {
				t.Errorf("got %s %s, proved %v, called by %v", f.Name, f.State, f.Proved, f.Callers)
			}
			if c.removed != nil && (!slices.Equal(f.Removed, c.removed) || !slices.Equal(f.Added, c.added)) {
				t.Errorf("no longer used %v, now used %v", f.Removed, f.Added)
			}
			marked, tables := 0, 0
			var diff strings.Builder
			for _, l := range f.Code {
				if l.Op != " " {
					marked++
					diff.WriteString(l.Op + " " + l.Text + " # " + l.Note + "\n")
				}
				if strings.HasPrefix(l.Text, "lea jump table") && l.Op == " " {
					tables++
				}
			}
			if marked == 0 || marked > c.marked || tables != 1 {
				t.Errorf("%d lines differ, want 1 to %d; %d equal jump tables:\n%s", marked, c.marked, tables, &diff)
			}
		})
	}
}
