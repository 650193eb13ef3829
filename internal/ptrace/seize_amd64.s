#include "textflag.h"

// func giveUp()
//
// The kernel calls it with the C calling convention (number, siginfo_t *,
// ucontext_t *) on the thread's signal stack. It may use AX, CX, DX, SI, DI and R8
// to R11, and returns to what is the restorer.
//
// In the ucontext the registers lie behind flags, link and stack, 40 bytes: rdi
// at 104, rax at 144, rip at 168 (struct sigcontext_64).
TEXT ·giveUp(SB),NOSPLIT|NOFRAME,$0-0
	CMPQ 144(DX), $101	// SYS_PTRACE: not made yet, or to be made anew
	JNE  done
	CMPQ 104(DX), $0x4206	// PTRACE_SEIZE
	JNE  done
	MOVQ 168(DX), AX
	CMPW (AX), $0x050f	// syscall
	JNE  done
	ADDQ $2, AX
	MOVQ AX, 168(DX)
	MOVQ $-4, 144(DX)	// -EINTR
done:
	RET

// func giveUpReturn()
TEXT ·giveUpReturn(SB),NOSPLIT|NOFRAME,$0-0
	MOVQ $15, AX		// rt_sigreturn
	SYSCALL
	INT  $3

// func giveUpCode() (handler, restorer uintptr)
TEXT ·giveUpCode(SB),NOSPLIT,$0-16
	LEAQ ·giveUp(SB), AX
	MOVQ AX, handler+0(FP)
	LEAQ ·giveUpReturn(SB), AX
	MOVQ AX, restorer+8(FP)
	RET
