package agent_test

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"hotpatch/internal/agent"
	"hotpatch/internal/catalog"
)

func TestNothingIsDoneOnAHostThatIsNotEnrolled(t *testing.T) {
	h := newHost(t, plain)
	as := h.step()
	h.wantDid()
	if as.Intent != catalog.NotEnrolled || len(as.Offers) != 0 {
		t.Errorf("%s is offered %v", as.Intent, as.Offers)
	}
}

func TestEnrolledHostTakesItsHotpatchDiskFirst(t *testing.T) {
	h := newHost(t, plain)
	h.enrol()
	as := h.step()
	h.wantDid("install food 1.1", "apply 812", "apply 813")
	if as.Track.State != catalog.Current || as.Track.Hotpatch != "2026-03-hotpatch" {
		t.Errorf("track %+v", as.Track)
	}
	for _, x := range as.Exposure {
		if x.Status != catalog.FixedInMemory {
			t.Errorf("%s is %s", x.CVE, x.Status)
		}
	}
	run := h.lastRun()
	if run.State != catalog.RunSucceeded || run.Restart != catalog.RestartNotNeeded || len(run.Items) != 3 {
		t.Errorf("run %+v", run)
	}
	h.step()
	h.wantDid()
}

func TestHotpatchWaitsForTheWindowWhenThePolicySaysSo(t *testing.T) {
	h := newHost(t, "hotpatches = \"in-window\"\n"+inWindow)
	h.enrol()
	as := h.step()
	h.wantDid()
	if as.Track.State != catalog.HotpatchAvailable {
		t.Errorf("track %+v", as.Track)
	}
	h.now = day.Add(2 * time.Hour)
	h.step()
	h.wantDid("install food 1.1", "apply 812", "apply 813")
}

func TestMemoryOnlyLeavesTheDiskAlone(t *testing.T) {
	h := newHost(t, "disk = \"memory-only\"\n"+plain)
	h.enrol()
	as := h.step()
	h.wantDid("apply 812", "apply 813")
	if as.Track.State != catalog.Current {
		t.Errorf("track %+v", as.Track)
	}
}

// Invariant 1, the agent's half: whoever publishes what, the agent refuses by
// itself what would eject the host.
func TestReleaseThatEjectsIsRefusedByTheAgent(t *testing.T) {
	h := newHost(t, inWindow)
	h.enrol()
	h.step()
	cold := release("2026-03-cold", catalog.Cold, "2026-01-baseline", "2026-03-10", artifact("2.0", "", ""))
	h.catalog.Releases = append(h.catalog.Releases, cold)
	h.now = day.Add(2 * time.Hour) // in the window, too
	as := h.step()
	h.wantDid()
	if as.Why("2026-03-cold") == nil || h.version != "1.1" {
		t.Errorf("withheld %+v, disk %s", as.Withheld, h.version)
	}
}

// Invariant 4: an offer is checked again at download, at staging and at
// installation.
func TestOfferIsCheckedAgainAtEveryStep(t *testing.T) {
	for _, at := range []string{"bundle", "hook"} {
		t.Run(at, func(t *testing.T) {
			h := newHost(t, plain+"\n[hooks]\npre = \"true\"\n")
			h.enrol()
			recall := func() {
				l, err := h.catalog.Releases[1].Life.Recall("release team", "it is wrong", h.now)
				if err != nil {
					t.Fatal(err)
				}
				h.catalog.Releases[1].Life = l
			}
			h.upon["bundle"] = recall
			if at == "hook" {
				delete(h.upon, "bundle")
				h.hook = func(string) error { recall(); return nil }
			}
			_, err := h.Step(context.Background())
			if err == nil || !strings.Contains(err.Error(), "withdrawn") {
				t.Errorf("error %v", err)
			}
			for _, d := range h.did {
				if strings.HasPrefix(d, "install") || strings.HasPrefix(d, "apply") {
					t.Errorf("did %q", h.did)
				}
			}
			if run := h.lastRun(); run.State != catalog.RunCancelled {
				t.Errorf("run %+v", run)
			}
			h.step()
			if files, _ := os.ReadDir(h.staging); len(files) != 0 {
				t.Errorf("still staged: %v", files)
			}
		})
	}
}

func TestRecallTakesTheHotpatchOutOfMemory(t *testing.T) {
	h := newHost(t, plain)
	h.enrol()
	h.step()
	l, err := h.catalog.Releases[1].Life.Recall("release team", "it loses mail", h.now)
	if err != nil {
		t.Fatal(err)
	}
	h.catalog.Releases[1].Life = l
	h.step()
	h.wantDid("revert 812", "revert 813")
	if files, _ := os.ReadDir(h.staging); len(files) != 0 {
		t.Errorf("still staged: %v", files)
	}
	h.step()
	h.wantDid()
}

func TestBusyProcessIsReportedAndTriedAgain(t *testing.T) {
	h := newHost(t, plain)
	h.processes[812].busy = true
	h.enrol()
	h.step()
	if run := h.lastRun(); run.State != catalog.RunWarnings || run.Items[1].State != catalog.ItemFailed {
		t.Errorf("run %+v", run)
	}
	s, err := h.Status()
	if err != nil || len(s.Exposed) != 1 {
		t.Errorf("exposed %+v, %v", s, err)
	}
	h.processes[812].busy = false
	h.step()
	h.wantDid() // not at once
	h.now = h.now.Add(time.Minute)
	h.step()
	h.wantDid("apply 812", "apply 813")
	if s, err = h.Status(); err != nil || len(s.Exposed) != 0 {
		t.Errorf("exposed %+v, %v", s, err)
	}
}

func TestWorkThatFailsIsTriedLessAndLessOften(t *testing.T) {
	h := newHost(t, plain)
	h.fail["install"] = errNo
	h.enrol()
	begun, tries := h.now, 0
	for h.now.Before(begun.Add(6 * time.Hour)) {
		h.did = nil
		_, _ = h.Step(context.Background()) // it fails
		tries += len(h.did)
		h.now = h.now.Add(time.Minute)
	}
	if tries < 8 || tries > 14 {
		t.Errorf("tried %d times in six hours", tries)
	}
}

func TestProcessThatDiesWithinItsSoakTakesTheReleaseBack(t *testing.T) {
	h := newHost(t, plain)
	h.enrol()
	h.step()
	delete(h.processes, 812)
	h.health["food.service"] = agent.Health{Restarts: 1}
	h.processes[900] = &process{started: 9000, version: "1.1", unit: "food.service"}
	h.now = h.now.Add(time.Minute)
	h.step()
	h.wantDid("revert 813")
	s, err := h.Status()
	if err != nil || len(s.Bars) != 1 || !strings.Contains(s.Bars[0].Why, "crashed within the soak") {
		t.Fatalf("bars %+v, %v", s.Bars, err)
	}
	events, err := h.Journal().LastEvents(100)
	if err != nil {
		t.Fatal(err)
	}
	incident := false
	for _, e := range events {
		incident = incident || e.Kind == agent.Incident
	}
	if !incident {
		t.Errorf("no incident among %+v", events)
	}

	// It does not come back by itself, also after a restart of the agent.
	h.start()
	h.now = h.now.Add(time.Hour)
	h.step()
	h.wantDid()
	if err := h.LiftBar("2026-03-hotpatch", "kim"); err != nil {
		t.Fatal(err)
	}
	h.step()
	h.wantDid("apply 813")
}

// A worker is replaced by its own parent: the unit is well all the time.
func TestWorkerThatCrashesWithinItsSoakTakesTheReleaseBack(t *testing.T) {
	h := newHost(t, plain)
	h.crashes = map[int]time.Time{812: h.now.Add(-time.Hour)} // of another process, long ago
	h.enrol()
	h.step()
	delete(h.processes, 812)
	h.processes[900] = &process{started: 9000, version: "1.1", unit: "food.service"}
	h.now = h.now.Add(time.Minute)
	h.step()
	h.wantDid()
	delete(h.processes, 813)
	h.processes[813] = &process{started: 9001, version: "1.0", patched: true, unit: "food.service"} // the number again
	h.crashes[813] = h.now
	h.now = h.now.Add(time.Minute)
	h.step()
	h.wantDid("revert 813")
	if s, err := h.Status(); err != nil || len(s.Bars) != 1 || !strings.Contains(s.Bars[0].Why, "SIGSEGV") {
		t.Errorf("bars %+v, %v", s.Bars, err)
	}
}

func TestProcessRestartedByItsOwnerIsNoIncident(t *testing.T) {
	h := newHost(t, plain)
	h.enrol()
	h.step()
	delete(h.processes, 812)
	h.processes[900] = &process{started: 9000, version: "1.1", unit: "food.service"}
	h.now = h.now.Add(time.Minute)
	h.step()
	h.wantDid()
}

func TestProcessThatDiesAfterItsSoakIsNoIncident(t *testing.T) {
	h := newHost(t, plain)
	h.enrol()
	h.step()
	h.now = h.now.Add(11 * time.Minute)
	delete(h.processes, 812)
	h.health["food.service"] = agent.Health{Failed: true}
	h.step()
	h.wantDid()
}

func TestBaselineIsTakenInTheWindowWithOneRestart(t *testing.T) {
	h := newHost(t, inWindow)
	h.enrol()
	h.step()
	h.catalog.Releases = append(h.catalog.Releases, release("2026-04-baseline", catalog.Baseline, "", "2026-04-14", artifact("2.0", "", "")))
	h.now = time.Date(2026, 4, 14, 12, 0, 0, 0, time.UTC)
	h.catalog.Issued, h.catalog.Expires = h.now, h.now.AddDate(0, 0, 7)
	as := h.step()
	h.wantDid()
	if as.Track.State != catalog.BaselineDue {
		t.Errorf("track %+v", as.Track)
	}
	h.now = h.now.Add(90 * time.Minute)
	as = h.step()
	h.wantDid("install food 2.0", "restart food.service")
	if as.Track.State != catalog.Current || as.Track.Baseline != "2026-04-baseline" {
		t.Errorf("track %+v", as.Track)
	}
	if run := h.lastRun(); run.Restart != catalog.RestartCompleted {
		t.Errorf("run %+v", run)
	}
}

// Invariant 8: nothing that goes wrong becomes an unscheduled restart.
func TestNothingThatFailsRestartsAnything(t *testing.T) {
	for _, port := range []string{"catalog", "bundle", "install", "inventory", "targets", "apply", "health", "process"} {
		t.Run(port, func(t *testing.T) {
			h := newHost(t, inWindow)
			h.enrol()
			h.fail[port] = errNo
			h.now = day.Add(90 * time.Minute)
			for range 3 {
				_, _ = h.Step(context.Background()) // each failure is an error of its own
				h.now = h.now.Add(3 * time.Minute)
			}
			for _, d := range h.did {
				if strings.HasPrefix(d, "restart") || d == "reboot" {
					t.Errorf("did %q", h.did)
				}
			}
			delete(h.fail, port)
			if as := h.step(); as.Track.State != catalog.Current {
				t.Errorf("it does not recover: %+v", as.Track)
			}
		})
	}
}

func TestUnreachableRepositoryKeepsTheLastCatalogueUntilItExpires(t *testing.T) {
	h := newHost(t, plain)
	h.enrol()
	h.processes[812].busy = true
	h.step()
	h.fail["catalog"] = errNo
	h.start() // it remembers over a restart, too
	h.processes[812].busy = false
	h.step()
	h.wantDid("apply 812", "apply 813")
	s, err := h.Status()
	if err != nil || s.Repository.Error == "" {
		t.Errorf("status %+v, %v", s.Repository, err)
	}
	h.processes[812].patched = false
	h.now = h.now.AddDate(0, 0, 8)
	h.step()
	h.wantDid() // an expired word starts nothing
}

func TestBadPolicyLeavesTheLastOneInForce(t *testing.T) {
	h := newHost(t, "hotpatches = \"in-window\"\n"+inWindow)
	h.enrol()
	h.policy = "hotpatches = \"at-onec\"\n" + plain
	h.step()
	h.wantDid()
	if s, err := h.Status(); err != nil || !strings.Contains(s.Policy, "at-onec") {
		t.Errorf("status %+v, %v", s, err)
	}
}

func TestFailingPreHookStopsTheRunAndThePostHookStillRuns(t *testing.T) {
	h := newHost(t, plain+"\n[hooks]\npre = \"drain\"\npost = \"undrain\"\n")
	h.enrol()
	h.hook = func(c string) error {
		if c == "drain" {
			return errNo
		}
		return nil
	}
	if _, err := h.Step(context.Background()); err == nil {
		t.Error("no error")
	}
	h.wantDid("hook drain", "hook undrain")
	h.hook = nil
	h.now = h.now.Add(time.Minute)
	h.step()
	h.wantDid("hook drain", "install food 1.1", "apply 812", "apply 813", "hook undrain")
}

func TestSuspendedHostIsLeftAlone(t *testing.T) {
	h := newHost(t, plain)
	h.processes[812].busy, h.processes[813].busy = true, true
	h.enrol()
	h.step()
	if _, err := h.Enrol(catalog.Suspended, "kim"); err != nil {
		t.Fatal(err)
	}
	h.processes[812].busy = false
	h.step()
	h.wantDid()
	if _, err := h.Enrol(catalog.Enrolled, "kim"); err != nil {
		t.Fatal(err)
	}
	h.now = h.now.Add(time.Minute)
	h.step()
	if h.did[0] != "apply 812" {
		t.Errorf("did %q", h.did)
	}
}

func TestHostThatIsNotEligibleStaysPendingAndSaysWhy(t *testing.T) {
	h := newHost(t, plain)
	h.gate = "kernel.yama.ptrace_scope is 3"
	h.enrol()
	as := h.step()
	h.wantDid()
	if as.Intent != catalog.Pending || len(as.Gates) != 1 || as.Gates[0].Remedy != "allow it" {
		t.Errorf("%s, gates %+v", as.Intent, as.Gates)
	}
	h.gate = ""
	if as = h.step(); as.Intent != catalog.Enrolled {
		t.Errorf("%s", as.Intent)
	}
}

func TestRestartedHostEndsItsRun(t *testing.T) {
	h := newHost(t, "reboot = true\n"+inWindow)
	h.enrol()
	h.step()
	b := release("2026-04-baseline", catalog.Baseline, "", "2026-04-14", artifact("2.0", "", ""))
	h.catalog.Releases = append(h.catalog.Releases, b)
	for _, p := range h.processes {
		p.unit = "host"
	}
	h.now = time.Date(2026, 4, 14, 13, 30, 0, 0, time.UTC)
	h.catalog.Issued, h.catalog.Expires = h.now, h.now.AddDate(0, 0, 7)
	h.step()
	if h.did[len(h.did)-1] != "reboot" {
		t.Fatalf("did %q", h.did)
	}
	h.now = h.now.Add(time.Minute)
	h.step()
	h.wantDid() // it goes down
	if run := h.lastRun(); !run.Ended.IsZero() || run.Restart != catalog.RestartStarted {
		t.Errorf("run %+v", run)
	}
	h.now = h.now.Add(5 * time.Minute)
	h.booted = h.now
	for _, p := range h.processes {
		p.version, p.patched, p.started = "2.0", false, 1
	}
	h.start()
	as := h.step()
	if as.Track.State != catalog.Current || as.Track.Baseline != "2026-04-baseline" {
		t.Errorf("track %+v", as.Track)
	}
	if run := h.lastRun(); run.Ended.IsZero() || run.State != catalog.RunSucceeded || run.Restart != catalog.RestartCompleted {
		t.Errorf("run %+v", run)
	}
}

func TestHostThatDoesNotGoDownIsToldOf(t *testing.T) {
	h := newHost(t, "reboot = true\n"+inWindow)
	h.enrol()
	h.step()
	h.catalog.Releases = append(h.catalog.Releases, release("2026-04-baseline", catalog.Baseline, "", "2026-04-14", artifact("2.0", "", "")))
	for _, p := range h.processes {
		p.unit = "host"
	}
	h.now = time.Date(2026, 4, 14, 13, 30, 0, 0, time.UTC)
	h.catalog.Issued, h.catalog.Expires = h.now, h.now.AddDate(0, 0, 7)
	h.step()
	h.now = h.now.Add(20 * time.Minute)
	h.step()
	for _, r := range mustRuns(t, h) {
		if r.Restart == catalog.RestartFailed && strings.Contains(r.Reason, "did not") {
			return
		}
	}
	t.Errorf("runs %+v", mustRuns(t, h))
}

func mustRuns(t *testing.T, h *host) []catalog.Run {
	t.Helper()
	runs, err := h.Journal().Runs(100)
	if err != nil {
		t.Fatal(err)
	}
	return runs
}

func TestHostIsNotRebootedUnlessItsOwnerAllowsIt(t *testing.T) {
	h := newHost(t, inWindow)
	h.enrol()
	h.step()
	h.catalog.Releases = append(h.catalog.Releases, release("2026-04-baseline", catalog.Baseline, "", "2026-04-14", artifact("2.0", "", "")))
	for _, p := range h.processes {
		p.unit = "host"
	}
	h.now = time.Date(2026, 4, 14, 13, 30, 0, 0, time.UTC)
	h.catalog.Issued, h.catalog.Expires = h.now, h.now.AddDate(0, 0, 7)
	as := h.step()
	for _, d := range h.did {
		if d == "reboot" {
			t.Fatalf("did %q", h.did)
		}
	}
	if as.Track.State != catalog.RestartPending {
		t.Errorf("track %+v", as.Track)
	}
}

// A crash at every write to the world: the next life finishes the work.
func TestCrashAnywhereIsFinishedByTheNextLife(t *testing.T) {
	for _, port := range []string{"bundle", "install", "targets", "apply", "health"} {
		t.Run(port, func(t *testing.T) {
			h := newHost(t, plain)
			h.enrol()
			h.upon[port] = func() { panic("power cut") }
			func() {
				defer func() {
					if recover() == nil {
						t.Fatal("the port was not used")
					}
				}()
				_, _ = h.Step(context.Background())
			}()
			h.start()
			h.settled = 0
			if as := h.step(); as.Track.State != catalog.Current {
				t.Errorf("track %+v after %q", as.Track, h.did)
			}
			if h.settled == 0 {
				t.Error("nothing was settled")
			}
			for _, r := range mustRuns(t, h) {
				if r.Ended.IsZero() {
					t.Errorf("run %s has no end", r.ID)
				}
			}
		})
	}
}
