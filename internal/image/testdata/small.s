# The source of small.elf, which small.golden describes. It is kept as a binary
# so that the golden file does not depend on the assembler and linker at hand:
#
#	as -o small.o small.s
#	echo '.globl imported; .type imported, @function; imported: ret' | as -o i.o -
#	echo 'V1 { global: *; };' > map
#	ld -shared -soname libi.so --version-script map -o libi.so i.o
#	ld -pie -E -z noseparate-code -z max-page-size=64 --dynamic-linker /x \
#	  --build-id=0x0123456789abcdef0123456789abcdef01234567 --hash-style=gnu \
#	  -z pack-relative-relocs -o small.elf small.o libi.so
	.text
	.globl	_start
	.type	_start, @function
_start:	.cfi_startproc
	sub	$8, %rsp
	.cfi_def_cfa_offset 16
	call	imported@PLT
	lea	room(%rip), %rax
	mov	imported@GOTPCREL(%rip), %rax
	mov	value(%rip), %ecx
	jmp	_start.cold
	.cfi_endproc
	.size	_start, .-_start
	.type	_start.cold, @function
_start.cold:
	.cfi_startproc
	.cfi_def_cfa_offset 16
	ud2
	.cfi_endproc
	.size	_start.cold, .-_start.cold
	.type	bare, @function
bare:	ret
	.size	bare, .-bare
	.p2align 4
	ret

	.section .rodata
text:	.asciz	"text"
	.data
	.globl	value
	.type	value, @object
value:	.long	7
	.size	value, 4
	.p2align 3
	.quad	text, value
	.section .data.rel.ro, "aw"
	.p2align 3
	.quad	bare
	.bss
room:	.skip	24
	.section .tdata, "awT", @progbits
	.long	1
	.section .tbss, "awT", @nobits
	.skip	8
