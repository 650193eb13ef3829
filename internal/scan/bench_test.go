package scan_test

import (
	"context"
	"os/exec"
	"testing"

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
	for b.Loop() {
		x, err := s.Scan(context.Background())
		if err != nil {
			b.Fatal(err)
		}
		n = len(x.Processes)
	}
	b.ReportMetric(float64(n), "processes")
}
