package scan_test

import (
	"context"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"hotpatch/internal/scan"
)

// BenchmarkScan is a scan of a host with a thousand processes more than it has,
// by a scanner that has seen it once, as in an agent.
func BenchmarkScan(b *testing.B) {
	for range 1000 {
		cmd := exec.Command("sleep", "600")
		if err := cmd.Start(); err != nil {
			b.Skip("sleep is missing: ", err)
		}
		b.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	}
	s := scan.New(scan.Options{})
	n := 0
	take(b, s)
	before := cpu(b)
	for b.Loop() {
		x, err := s.Scan(context.Background())
		if err != nil {
			b.Fatal(err)
		}
		n = len(x.Processes)
	}
	b.ReportMetric(float64(n), "processes")
	// On a machine that does other things too, this says more than the time.
	b.ReportMetric(float64(cpu(b)-before)/float64(b.N)/1e6, "cpu-ms/op")
}

// cpu is the processor time we have used.
func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
