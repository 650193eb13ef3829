package proc_test

import (
	"errors"
	"os"
	"slices"
	"testing"

	"hotpatch/internal/proc"
)

// Whatever way the kernel is asked, the answer is the same.
func TestCodeMapsAreThoseOfMaps(t *testing.T) {
	pids, err := proc.PIDs()
	if err != nil {
		t.Fatal(err)
	}
	compared := 0
	for _, pid := range pids {
		for range 3 { // mappings may change between the two looks
			all, err1 := proc.Maps(pid)
			code, err2 := proc.CodeMaps(pid)
			again, err3 := proc.Maps(pid)
			if err1 != nil || err2 != nil || err3 != nil || !slices.Equal(all, again) {
				continue
			}
			all = slices.DeleteFunc(all, func(m proc.Map) bool { return !m.Exec || m.Inode == 0 })
			if !slices.Equal(all, code) {
				t.Errorf("process %d:\n%v\nwant\n%v", pid, code, all)
			}
			if pid == os.Getpid() && len(code) == 0 {
				t.Error("we map no program ourselves")
			}
			compared++
			break
		}
	}
	if compared == 0 {
		t.Error("no process could be compared")
	}
}

func TestCodeMapsOfNoProcess(t *testing.T) {
	if ms, err := proc.CodeMaps(1 << 30); !errors.Is(err, proc.ErrGone) {
		t.Errorf("%v %v", ms, err)
	}
}
