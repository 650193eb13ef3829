package ptrace

import (
	"time"

	"golang.org/x/sys/unix"
)

// Stub, DecodeStop, HideStop and UserResume are the pure parts, for tests.
func Stub(at uint64, calls []Call, mask uint64, back Regs) []byte {
	code, _ := stub(at, calls, nil, mask, back)
	return code
}
func DecodeStop(ws uint32) Stop { return decodeStop(unix.WaitStatus(ws)) }
func HideStop(r *Regs, s Stop, filters Answer) bool {
	return hideStop(r, s, func() Answer { return filters })
}

// Answer is what a thread's filters say.
type Answer = answer

const Unknown, Passes, Fails = unknown, passes, fails

// StateOf is the letter of a thread's state.
func StateOf(tid int) (byte, error) { return stateOf(tid) }

func NotToBeAsked(status string) bool { return notToBeAsked([]byte(status)) }
func UserResume(r Regs) Regs          { return userResume(r) }

// HandleGiveUp installs the handler of GiveUpSignal.
func HandleGiveUp() error { return canGiveUp() }

const GiveUpSignal = giveUpSignal

// RegsFrom reads the registers of a process so many calls deep on the stack.
func (t *Tracer) RegsFrom(depth, pid int) (r Regs, err error) {
	if err := t.seize(pid, 0); err != nil {
		return r, err
	}
	if err := t.interrupt(pid); err != nil {
		return r, err
	}
	s, err := t.wait(pid, time.Now().Add(10*time.Second))
	if err != nil {
		return r, err
	}
	r, err = t.deeper(depth, pid)
	t.letGo(pid, s)
	return r, err
}

func (t *Tracer) deeper(depth, pid int) (Regs, error) {
	if depth == 0 {
		return t.regs(pid)
	}
	return t.deeper(depth-1, pid)
}
