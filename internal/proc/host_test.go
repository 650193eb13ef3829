package proc_test

import (
	"os"
	"testing"

	"hotpatch/internal/proc"
)

func TestKernelReleasesAreVersions(t *testing.T) {
	for in, want := range map[string][2]int{
		"6.1.0-18-amd64": {6, 1}, "4.17.0": {4, 17}, "5.15.153.1-microsoft-standard-WSL2": {5, 15}, "6.9-rc1": {6, 9}, "7.0": {7, 0},
	} {
		if major, minor, err := proc.ParseKernel(in); err != nil || [2]int{major, minor} != want {
			t.Errorf("%s: %d.%d, %v", in, major, minor, err)
		}
	}
	for _, bad := range []string{"", "6", "six.one", "6.", ".1", "-6.1"} {
		if major, minor, err := proc.ParseKernel(bad); err == nil {
			t.Errorf("%q: %d.%d", bad, major, minor)
		}
	}
}

func TestTheLastForceOverrideOnTheCommandLineCounts(t *testing.T) {
	for in, want := range map[string]string{
		"":                                  "",
		"quiet console=ttyS0\n":             "",
		"proc_mem.force_override=never\n":   "never",
		"proc-mem.force-override=ptrace ro": "ptrace",
		"proc_mem.force_override=never proc_mem.force_override=always": "always",
		"init=/x -- proc_mem.force_override=never":                     "",
		"xproc_mem.force_override=never":                               "",
	} {
		if got := proc.ParseProcMem([]byte(in)); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestHidePIDIsReadFromTheMountsOfProc(t *testing.T) {
	const root = "23 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw\n"
	for in, want := range map[string]string{
		root + "24 23 0:22 / /proc rw,nosuid shared:13 - proc proc rw\n":                                                      "off",
		root + "24 23 0:22 / /proc rw - proc proc rw,hidepid=2\n":                                                             "invisible",
		root + "24 23 0:22 / /proc rw - proc proc rw,gid=4,hidepid=noaccess\n":                                                "noaccess",
		root + "24 23 0:22 / /proc rw - proc proc rw,hidepid=4\n":                                                             "ptraceable",
		"24 23 0:22 / /proc rw - proc proc rw,hidepid=1\n25 24 0:23 / /proc rw - proc proc rw\n":                              "off",
		"24 23 0:22 / /proc rw a:1 b:2 - proc proc rw,hidepid=invisible\n26 24 0:9 / /srv/x/proc rw - proc none rw\n":         "invisible",
		"24 23 0:22 / /proc rw - proc proc rw\n27 24 0:35 / /proc/sys/fs/binfmt_misc rw - autofs systemd-1 rw,fd=29\n" + root: "off",
	} {
		if got, err := proc.ParseHidePID([]byte(in)); err != nil || got != want {
			t.Errorf("%q: %q, %v, want %q", in, got, err, want)
		}
	}
	for _, bad := range []string{"", root, "24 23 0:22 / /proc rw\n", "24 23 0:22 / /proc rw - proc\n", "\n"} {
		if got, err := proc.ParseHidePID([]byte(bad)); err == nil {
			t.Errorf("%q: %q", bad, got)
		}
	}
}

const sampleStatus = `Name:	redis-server
Tgid:	812
TracerPid:	77
Uid:	1	2	3	4
Gid:	5	6	7	8
VmSize:	  123456 kB
VmLck:	       4 kB
CapPrm:	0000000000080000
CapEff:	0000010000200002
Seccomp:	2
`

func TestParseRights(t *testing.T) {
	r, err := proc.ParseRights([]byte(sampleStatus))
	want := proc.Rights{UIDs: [4]int{1, 2, 3, 4}, GIDs: [4]int{5, 6, 7, 8}, Permitted: 1 << 19,
		Effective: 1<<40 | 1<<21 | 1<<1, Seccomp: 2, TracerPID: 77, Size: 123456 << 10, Locked: 4 << 10}
	if err != nil || r != want {
		t.Errorf("got %+v, %v", r, err)
	}
	if r.Has(proc.CapSysPtrace) || !r.Has(proc.CapSysAdmin) || !r.Has(proc.CapDACOverride) || !r.Has(proc.CapCheckpointRestore) {
		t.Errorf("capabilities of %x are taken wrongly", r.Effective)
	}
	for _, bad := range []string{
		"", "Uid:\t1\t2\n", "VmSize:\t1 MB\n", "CapEff:\txyz\n", "Seccomp:\t\n",
		"Uid:\t1 2 3 4\nGid:\t1 2 3 4\nCapPrm:\t0\nTracerPid:\t0\n", // no CapEff
	} {
		if r, err := proc.ParseRights([]byte(bad)); err == nil {
			t.Errorf("%q: %+v", bad, r)
		}
	}
}

const sampleLimits = `Limit                     Soft Limit           Hard Limit           Units     
Max cpu time              unlimited            unlimited            seconds   
Max locked memory         8388608              unlimited            bytes     
Max address space         unlimited            unlimited            bytes     
`

func TestParseLimits(t *testing.T) {
	l, err := proc.ParseLimits([]byte(sampleLimits))
	if err != nil || l != (proc.Limits{AddressSpace: proc.Unlimited, Locked: 8 << 20}) {
		t.Errorf("got %+v, %v", l, err)
	}
	for _, bad := range []string{"", "Max address space 1 2 bytes\n", "Max address space 1 2 kB\nMax locked memory 1 2 bytes\n", "Max address space x 2 bytes\nMax locked memory 1 2 bytes\n"} {
		if l, err := proc.ParseLimits([]byte(bad)); err == nil {
			t.Errorf("%q: %+v", bad, l)
		}
	}
}

func FuzzParseHost(f *testing.F) {
	f.Add([]byte(sampleStatus))
	f.Add([]byte(sampleLimits))
	f.Add([]byte("24 23 0:22 / /proc rw - proc proc rw,hidepid=2\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, err := proc.ParseRights(b); err != nil && r != (proc.Rights{}) {
			t.Errorf("%+v with %v", r, err)
		}
		if l, err := proc.ParseLimits(b); err != nil && l != (proc.Limits{}) {
			t.Errorf("%+v with %v", l, err)
		}
		if h, err := proc.ParseHidePID(b); err == nil && h == "" {
			t.Error("nothing, and no error")
		}
		if major, _, err := proc.ParseKernel(string(b)); err == nil && major < 0 {
			t.Error("a version below zero")
		}
		_ = proc.ParseProcMem(b)
	})
}

func TestHostAndOwnRightsCanBeRead(t *testing.T) {
	h, err := proc.ReadHost()
	if err != nil {
		t.Fatal(err)
	}
	if h.Machine != "x86_64" || h.Available == 0 || h.HidePID == "" {
		t.Errorf("%+v", h)
	}
	me := os.Getpid()
	r, err := proc.ReadRights(me, me)
	if err != nil || r.UIDs[1] != os.Geteuid() || r.Size == 0 {
		t.Errorf("%+v, %v", r, err)
	}
	if l, err := proc.ReadLimits(me); err != nil || l.AddressSpace == 0 {
		t.Errorf("%+v, %v", l, err)
	}
}

func TestRunnableCountsUs(t *testing.T) {
	if n, err := proc.Runnable(); err != nil || n < 1 {
		t.Errorf("%d threads run, %v", n, err)
	}
}
