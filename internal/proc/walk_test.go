package proc_test

import (
	"errors"
	"os"
	"slices"
	"testing"

	"hotpatch/internal/proc"
)

func TestWalkAsksAboutEveryProcessAndForgetsNone(t *testing.T) {
	bad := errors.New("cannot tell")
	self, parent := os.Getpid(), os.Getppid()
	found, denied, err := proc.Walk(func(pid int, buf []byte) (bool, []byte, error) {
		switch pid {
		case self:
			return true, buf, nil
		case parent:
			return true, buf, bad
		}
		return true, buf, proc.ErrGone
	})
	if err != nil || !slices.Equal(found, []int{self}) || len(denied) != 1 || denied[parent] != bad {
		t.Errorf("%v, %v, %v", found, denied, err)
	}
}

func TestDiskIsAskedOnceForAllWhoSeeTheSameFiles(t *testing.T) {
	var d proc.Disk
	name := t.TempDir() + "/image"
	if err := os.WriteFile(name, []byte("no program"), 0o644); err != nil {
		t.Fatal(err)
	}
	if id, err := d.BuildID(os.Getpid(), name); id != "" || err != nil {
		t.Fatalf("%q, %v", id, err)
	}
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	if _, err := d.BuildID(os.Getpid(), name); err != nil {
		t.Errorf("asked again: %v", err)
	}
	var fresh proc.Disk
	if _, err := fresh.BuildID(os.Getpid(), name); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("another listing: %v", err)
	}
}
