package arch

// The opcode maps say what follows an opcode byte. They are strings so that
// they are constant and can be read as the printed maps are: 16 rows of 16.
//
//	.  no instruction in 64-bit mode      n  nothing follows
//	m  ModRM                              b  imm8
//	M  ModRM, imm8                        w  imm16
//	Z  ModRM, imm16 or imm32 by size      z  imm16 or imm32 by size
//	v  imm16, imm32 or imm64 by size      e  imm16 and imm8 (enter)
//	j  rel8                               J  rel32
//	o  an address of 8 bytes (moffs)
//	t  ModRM; /0 and /1 have imm8 (F6)    T  the same, by size (F7)
//	c  ModRM that always names registers  s  SSE4a: two imm8 behind 66 or F2
//	x  prefix or escape, handled before the map is asked
const (
	opMap0 = "" +
		"mmmmbz..mmmmbz.x" + // 00
		"mmmmbz..mmmmbz.." + // 10
		"mmmmbzx.mmmmbzx." + // 20
		"mmmmbzx.mmmmbzx." + // 30
		"xxxxxxxxxxxxxxxx" + // 40 REX
		"nnnnnnnnnnnnnnnn" + // 50
		"..xmxxxxzZbMnnnn" + // 60
		"jjjjjjjjjjjjjjjj" + // 70
		"MZ.Mmmmmmmmmmmmm" + // 80
		"nnnnnnnnnn.nnnnn" + // 90
		"oooonnnnbznnnnnn" + // a0
		"bbbbbbbbvvvvvvvv" + // b0
		"MMwnxxMZenwnnb.n" + // c0
		"mmmm...nmmmmmmmm" + // d0
		"jjjjbbbbJJ.jnnnn" + // e0
		"xnxxnntTnnnnnnmm" //   f0

	opMap1 = "" +
		"mmmm.nnnnn.n.mnM" + // 00 (0F 0F: 3DNow!, the suffix stands as an imm8)
		"mmmmmmmmmmmmmmmm" + // 10
		"cccc....mmmmmmmm" + // 20
		"nnnnnn.nx.x....." + // 30
		"mmmmmmmmmmmmmmmm" + // 40
		"mmmmmmmmmmmmmmmm" + // 50
		"mmmmmmmmmmmmmmmm" + // 60
		"MMMMmmmnsm..mmmm" + // 70
		"JJJJJJJJJJJJJJJJ" + // 80
		"mmmmmmmmmmmmmmmm" + // 90
		"nnnmMmmmnnnmMmmm" + // a0 (A6, A7: PadLock, which libcrypto carries)
		"mmmmmmmmmmMmmmmm" + // b0
		"mmMmMMMmnnnnnnnn" + // c0
		"mmmmmmmmmmmmmmmm" + // d0
		"mmmmmmmmmmmmmmmm" + // e0
		"mmmmmmmmmmmmmmmm" //   f0

	opMap2 = "" +
		"mmmmmmmmmmmm...." + // 00
		"m...mm.m....mmm." + // 10
		"mmmmmm..mmmm...." + // 20
		"mmmmmm.mmmmmmmmm" + // 30
		"mm.............." + // 40
		"................" + // 50
		"................" + // 60
		"................" + // 70
		"mmm............." + // 80
		"................" + // 90
		"................" + // a0
		"................" + // b0
		"........mmmmmm.m" + // c0
		"........m..mmmmm" + // d0
		"................" + // e0
		"mm...mm.mmmmm..." //   f0

	opMap3 = "" +
		"........MMMMMMMM" + // 00
		"....MMMM........" + // 10
		"MMM............." + // 20
		"................" + // 30
		"MMM.M..........." + // 40
		"................" + // 50
		"MMMM............" + // 60
		"................" + // 70
		"................" + // 80
		"................" + // 90
		"................" + // a0
		"................" + // b0
		"............M.MM" + // c0
		"...............M" + // d0
		"................" + // e0
		"M..............." //   f0
)

// vectorForm is the map entry of a VEX or EVEX opcode.
func vectorForm(opmap, op byte, evex bool) byte {
	switch opmap {
	case 1:
		switch op {
		case 0x77: // vzeroupper, vzeroall
			if evex {
				return '.'
			}
			return 'n'
		case 0x70, 0x71, 0x72, 0x73, 0xc2, 0xc4, 0xc5, 0xc6:
			return 'M'
		}
		return 'm'
	case 2:
		return 'm'
	case 3: // every instruction of this map ends in a byte: imm8 or is4
		return 'M'
	case 5, 6: // AVX512-FP16
		if evex {
			return 'm'
		}
	}
	return '.'
}

// xopForm is the map entry of an XOP opcode (AMD64 APM vol. 6 §1.3).
func xopForm(opmap byte) byte {
	switch opmap {
	case 8:
		return 'M'
	case 9:
		return 'm'
	case 10: // imm32 whatever the prefixes, which XOP forbids
		return 'Z'
	}
	return '.'
}

// vectorIndex says whether the SIB index of this vector instruction is a
// vector register: gathers, scatters and their prefetches.
func vectorIndex(opmap, op byte) bool {
	if opmap != 2 {
		return false
	}
	switch op {
	case 0x90, 0x91, 0x92, 0x93, 0xa0, 0xa1, 0xa2, 0xa3, 0xc6, 0xc7:
		return true
	}
	return false
}
