package cli

import (
	"hotpatch/internal/proc"
	"hotpatch/internal/txn"
)

// For the tests of doctor: verdicts on hosts and processes that are not there.
type Finding = finding

var JudgeHost = judgeHost

// JudgeTrial is what is said when these steps of the trial failed.
func JudgeTrial(h proc.Host, r proc.Rights, failed map[string]error) []Finding {
	var t trial
	for _, check := range []string{"try-start", "try-open", "try-write", "try-borrow", "try-map", "try-stop", "try-sandbox", "try-files", "try-kcmp", "try-after"} {
		if err := failed[check]; err != nil {
			t.failed(check, err)
		}
	}
	return t.findings(h, r)
}

// Symptoms are those of a process, by what they are about.
type Symptoms struct {
	Threads, Stuck, Sandboxed int
	Tracer                    int
	TracerComm                string
	Rights                    proc.Rights
	Limits                    proc.Limits
	Label                     string
	Mappings                  int
}

func JudgeProcess(look *txn.Look, s Symptoms, h proc.Host, r proc.Rights) []Finding {
	in := symptoms{threads: s.Threads, stuck: s.Stuck, sandboxed: s.Sandboxed, rights: s.Rights, limits: s.Limits, label: s.Label}
	if s.Tracer != 0 {
		in.tracers, in.comms = map[int]int{s.Tracer: 1}, map[int]string{s.Tracer: s.TracerComm}
	}
	return append(judgeLook(look), judgeSymptoms(in, s.Mappings, h, r)...)
}
