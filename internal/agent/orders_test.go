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

// An order is taken down at once, whatever the agent is at, and the work looks
// at it before its next process.
func TestSuspendedInTheMiddleEndsTheWork(t *testing.T) {
	for port, want := range map[string][]string{
		"hook":   {"hook drain", "hook undrain"},
		"bundle": {},
		"apply":  {"hook drain", "install food 1.1", "apply 812", "hook undrain"},
	} {
		t.Run(port, func(t *testing.T) {
			h := newHost(t, plain+"\n[hooks]\npre = \"drain\"\npost = \"undrain\"\n")
			h.enrol()
			suspend := func() {
				h.hook = nil
				if _, err := h.Enrol(catalog.Suspended, "kim"); err != nil {
					t.Error(err)
				}
			}
			if port == "hook" {
				h.hook = func(string) error { suspend(); return nil }
			} else {
				h.upon[port] = suspend
			}
			h.did = nil
			if _, err := h.Step(context.Background()); err == nil || !strings.Contains(err.Error(), "suspended") {
				t.Errorf("error %v", err)
			}
			h.wantDid(want...)
			if run := h.lastRun(); run.State != catalog.RunCancelled {
				t.Errorf("run %+v", run)
			}
			if s, err := h.Status(); err != nil || s.Track.State == catalog.Failed {
				t.Errorf("%+v, %v", s.Track, err)
			}
			if _, err := h.Enrol(catalog.Enrolled, "kim"); err != nil {
				t.Fatal(err)
			}
			h.now = h.now.Add(time.Minute)
			if as := h.step(); as.Track.State != catalog.Current {
				t.Errorf("it does not go on: %+v", as.Track)
			}
		})
	}
}

func TestAgentThatIsToldToEndIsNoFailure(t *testing.T) {
	h := newHost(t, plain)
	h.enrol()
	ctx, cancel := context.WithCancel(context.Background())
	h.upon["apply"] = cancel
	if _, err := h.Step(ctx); err == nil {
		t.Error("no error")
	}
	if run := h.lastRun(); run.State != catalog.RunCancelled {
		t.Errorf("run %+v", run)
	}
	h.start()
	as := h.step()
	h.wantDid("apply 812", "apply 813")
	if as.Track.State != catalog.Current {
		t.Errorf("track %+v", as.Track)
	}
}

func TestReleaseThatWaitsForItsWindowIsStagedAhead(t *testing.T) {
	h := newHost(t, "hotpatches = \"in-window\"\n"+inWindow)
	h.enrol()
	h.step()
	as := h.step()
	h.wantDid()
	if files, _ := os.ReadDir(h.staging); as.Track.State != catalog.Staged || len(files) != 1 {
		t.Errorf("track %+v, staged %v", as.Track, files)
	}
	l, err := h.catalog.Releases[1].Life.Recall("release team", "it is wrong", h.now)
	if err != nil {
		t.Fatal(err)
	}
	h.catalog.Releases[1].Life = l
	as = h.step()
	if files, _ := os.ReadDir(h.staging); as.Track.State != catalog.Current || len(files) != 0 {
		t.Errorf("track %+v, staged %v", as.Track, files)
	}
	h.now = day.Add(2 * time.Hour)
	h.step()
	h.wantDid()
}

func TestReleaseForAnEarlierRingIsNotForThisHost(t *testing.T) {
	h := newHost(t, "ring = 2\n"+plain)
	h.catalog.Releases[1].Life = catalog.Life{State: catalog.InRing, Ring: 1, Since: day, By: "release team"}
	h.enrol()
	h.step()
	h.wantDid()
	h.catalog.Releases[1].Life.Ring = 2
	h.step()
	h.wantDid("install food 1.1", "apply 812", "apply 813")
}

func TestLastGoodPolicyOutlivesARestart(t *testing.T) {
	h := newHost(t, "hotpatches = \"in-window\"\n"+inWindow)
	h.enrol()
	h.step()
	h.policy = "repository ="
	h.start()
	h.step()
	h.wantDid()
	if s, err := h.Status(); err != nil || s.Policy == "" || s.Repository.Address != "/srv/repo" {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestProcessThatDiesWhileItIsPatchedEndsTheRelease(t *testing.T) {
	h := newHost(t, plain)
	h.processes[812].dies = true
	h.enrol()
	h.did = nil
	if _, err := h.Step(context.Background()); err == nil || !strings.Contains(err.Error(), "died while it was patched") {
		t.Errorf("error %v", err)
	}
	h.wantDid("install food 1.1", "apply 812") // and nobody else
	s, err := h.Status()
	if err != nil || len(s.Bars) != 1 || s.Track.State != catalog.Failed {
		t.Errorf("%+v, %v", s, err)
	}
}

// How a process of no unit ended cannot be known; one that lived long before is
// believed not to have ended by itself.
func TestProcessWithoutAUnitIsWatchedWhenItIsOld(t *testing.T) {
	for name, c := range map[string]struct {
		age  time.Duration
		want []string
	}{"young": {time.Minute, nil}, "old": {24 * time.Hour, []string{"revert 813"}}} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t, plain)
			for _, p := range h.processes {
				p.unit, p.since = "", h.now.Add(-c.age)
			}
			h.enrol()
			h.step()
			delete(h.processes, 812)
			h.now = h.now.Add(time.Minute)
			h.step()
			h.wantDid(c.want...)
		})
	}
}

// The watch is in the journal before the process is touched.
func TestWatchOutlivesACrashRightAfterThePatch(t *testing.T) {
	h := newHost(t, plain)
	h.enrol()
	h.upon["apply"] = func() { // 812 is patched, and we die before we can say so
		h.processes[812].patched = true
		panic("power cut")
	}
	func() {
		defer func() { _ = recover() }()
		_, _ = h.Step(context.Background())
	}()
	h.start()
	h.step()
	delete(h.processes, 812)
	h.health["food.service"] = agent.Health{Restarts: 1}
	h.now = h.now.Add(time.Minute)
	h.step()
	h.wantDid("revert 813")
}

func TestInstallationThatSomebodyLeftHalfDoneIsFinished(t *testing.T) {
	h := newHost(t, plain)
	h.step()
	if h.settled != 0 {
		t.Error("a host that is not enrolled was repaired")
	}
	h.enrol()
	h.step()
	if h.settled == 0 {
		t.Error("nothing was settled")
	}
	h.fail["settle"] = errNo
	if _, err := h.Step(context.Background()); err == nil {
		t.Error("no error")
	}
	if s, err := h.Status(); err != nil || !strings.Contains(s.Trouble, errNo.Error()) {
		t.Errorf("trouble %q, %v", s.Trouble, err)
	}
	n := h.settled
	for range 5 {
		_, _ = h.Step(context.Background())
	}
	if h.settled != n {
		t.Error("it is tried without a pause")
	}
}

func TestWhatIsWantedAlreadyChangesNothing(t *testing.T) {
	h := newHost(t, plain)
	ask := func(to catalog.Intent, by string, already bool, intent catalog.Intent) agent.Wanted {
		t.Helper()
		h.now = h.now.Add(time.Minute)
		w, err := h.Enrol(to, by)
		if err != nil || w.Already != already || w.Intent != intent {
			t.Fatalf("%s by %s: %+v, %v", to, by, w, err)
		}
		return w
	}
	first := ask(catalog.Pending, "kim", false, catalog.Pending)
	if again := ask(catalog.Pending, "lee", true, catalog.Pending); again.By != "kim" || !again.Since.Equal(first.Since) {
		t.Errorf("%+v, want %+v", again, first)
	}
	h.step()
	h.step()
	if e, err := h.Enrol(catalog.Pending, "lee"); err != nil || e.Intent != catalog.Enrolled || !e.Already || e.By != "kim" {
		t.Fatalf("%+v, %v", e, err)
	}
	ask(catalog.Suspended, "kim", false, catalog.Suspended)
	ask(catalog.Suspended, "lee", true, catalog.Suspended)
	if _, err := h.Enrol(catalog.Pending, "lee"); err == nil {
		t.Error("enrolling a suspended host went on with it")
	}
	ask(catalog.Cancelled, "kim", false, catalog.Cancelled)
	ask(catalog.Cancelled, "lee", true, catalog.Cancelled)
	changes := 0
	events, err := h.Journal().Events(0, 100)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range events {
		if e.Kind == agent.EnrolmentChanged {
			changes++
			if strings.Contains(e.Text, "lee") {
				t.Errorf("noted: %s", e.Text)
			}
		}
	}
	if changes < 3 {
		t.Errorf("%d changes are noted", changes)
	}
}
