package ptrace

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
)

// tracedByUs tells, for a thread that could not be seized, whether this very
// tracer has it already and whether it is dead. What cannot be read is neither.
func (t *Tracer) tracedByUs(tid int) (mine, dead bool) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", tid))
	if err != nil {
		return false, os.IsNotExist(err)
	}
	state := statusField(b, "State:")
	dead = len(state) > 0 && (state[0] == 'Z' || state[0] == 'X')
	tracer, err := strconv.Atoi(string(statusField(b, "TracerPid:")))
	// The field is called a pid but holds the tracer's thread id.
	return err == nil && tracer == t.tid, dead
}

func statusField(status []byte, key string) []byte {
	for line := range bytes.SplitSeq(status, []byte("\n")) {
		if v, ok := bytes.CutPrefix(line, []byte(key)); ok {
			return bytes.TrimSpace(v)
		}
	}
	return nil
}

// runnable says that a thread is running or waits for a processor. What cannot
// be read is not.
func runnable(tid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", tid))
	if err != nil {
		return false
	}
	s := statusField(b, "State:")
	return len(s) > 0 && s[0] == 'R'
}
