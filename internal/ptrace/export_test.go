package ptrace

import "golang.org/x/sys/unix"

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

func UserResume(r Regs) Regs { return userResume(r) }

// HandleGiveUp installs the handler of GiveUpSignal.
func HandleGiveUp() error { return canGiveUp() }

const GiveUpSignal = giveUpSignal
