package property_test

import (
	"math/rand/v2"
	"slices"
	"strings"
)

func (c *trial) chooseFlags() {
	// As Debian builds, and what else is seen.
	c.flags = []string{"-fPIE", "-pie", "-fstack-protector-strong", "-Wl,-z,relro,-z,now", "-Wl,--build-id=sha1"}
	level := []string{"-O2", "-O2", "-O2", "-O1", "-O3", "-Os"}[c.rand.IntN(6)]
	c.flags = append(c.flags, level, "-D_FORTIFY_SOURCE=2")
	for _, x := range []struct {
		percent int
		flag    string
	}{
		{15, "-fno-plt"}, {20, "-fcf-protection"}, {15, "-ffunction-sections"}, {10, "-fdata-sections"}, {15, "-rdynamic"},
		{10, "-Wl,-z,pack-relative-relocs"}, {10, "-fno-toplevel-reorder"}, {10, "-march=x86-64-v3"},
	} {
		if c.chance(x.percent) {
			c.flags = append(c.flags, x.flag)
		}
	}
	if c.debug = c.chance(50); c.debug {
		c.flags = append(c.flags, "-g")
	}
	c.stripped = !c.debug && c.chance(60)
	if !c.early {
		c.chooseLaterFlags()
	}
	if nonPIE() && !c.library {
		c.flags = slices.DeleteFunc(c.flags, func(f string) bool { return f == "-fPIE" || f == "-pie" || f == "-static-pie" })
		c.flags = append([]string{"-fno-pie", "-no-pie", "-Wl,--emit-relocs"}, c.flags...)
	}
	if strings.Contains(c.cc, "clang") {
		c.flags = slices.DeleteFunc(c.flags, func(f string) bool { return slices.Contains(gccOnly, f) })
	}
	if c.bare {
		c.flags = slices.DeleteFunc(c.flags, func(f string) bool { return f == "-g" })
		c.debug, c.stripped = false, true
	}
}

var gccOnly = []string{"-fno-toplevel-reorder", "-ftrivial-auto-var-init=zero", "-fzero-call-used-regs=used", "-fno-ipa-icf", "-fno-ipa-sra", "-mtls-dialect=gnu2", "-fuse-ld=gold"}

// chooseLaterFlags adds what older seeds did not have, with dice of its own.
func (c *trial) chooseLaterFlags() {
	dice := rand.New(rand.NewPCG(c.seed, 3))
	for _, x := range []struct {
		percent int
		flag    string
	}{
		{3, "-O0"}, {3, "-Og"}, {6, "-flto"}, {8, "-fPIC"}, {10, "-fstack-clash-protection"}, {6, "-fno-stack-protector"},
		{6, "-fno-semantic-interposition"}, {6, "-fvisibility=hidden"}, {8, "-fno-omit-frame-pointer"}, {5, "-ftrivial-auto-var-init=zero"},
		{4, "-fzero-call-used-regs=used"}, {4, "-fno-jump-tables"}, {3, "-fno-ipa-icf"}, {3, "-fno-ipa-sra"}, {3, "-fno-merge-constants"},
		{3, "-fno-builtin"}, {2, "-mno-red-zone"}, {2, "-fno-asynchronous-unwind-tables"}, {8, "-Wl,-z,lazy"}, {2, "-Wl,-z,norelro"},
		{10, "-Wl,-O1"}, {5, "-Wl,--gc-sections"}, {5, "-Wl,-z,noseparate-code"}, {3, "-mtls-dialect=gnu2"}, {2, "-fuse-ld=gold"}, {2, "-static-pie"},
	} {
		if dice.IntN(100) < x.percent {
			c.flags = append(c.flags, x.flag)
		}
	}
	if slices.Contains(c.flags, "-fuse-ld=gold") { // which does not know these
		c.flags = slices.DeleteFunc(c.flags, func(f string) bool {
			return f == "-Wl,-z,pack-relative-relocs" || f == "-static-pie" || f == "-Wl,-z,noseparate-code"
		})
	}
	if c.library = c.library || dice.IntN(100) < 25; !c.library {
		return
	}
	c.flags = slices.DeleteFunc(c.flags, func(f string) bool { return f == "-fPIE" || f == "-pie" || f == "-static-pie" })
	c.flags = append(c.flags, "-fPIC")
	for _, x := range []struct {
		percent int
		flag    string
	}{
		{15, "-Wl,-Bsymbolic"}, {15, "-Wl,-Bsymbolic-functions"}, {15, "-fno-semantic-interposition"}, {25, "-fvisibility=hidden"},
		{25, "-Wl,--version-script=versions"}, {5, "-ftls-model=initial-exec"}, {5, "-Wl,-z,nodelete"},
	} {
		if dice.IntN(100) < x.percent {
			c.flags = append(c.flags, x.flag)
		}
	}
}
