package agent_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hotpatch/internal/agent"
	"hotpatch/internal/catalog"

	"github.com/openvex/go-vex/pkg/vex"
)

// serve answers on a socket until the test ends.
func serve(t *testing.T, h *host) *agent.Client {
	t.Helper()
	path := filepath.Join(t.TempDir(), "agent.sock")
	l, err := agent.ListenSocket(path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- h.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	if _, err := agent.ListenSocket(path); err == nil {
		t.Error("a second agent took the socket of the first")
	}
	return agent.NewClient(path)
}

func TestSocketAnswersAndTakesOrders(t *testing.T) {
	h := newHost(t, plain)
	c := serve(t, h)
	ctx := context.Background()
	var s agent.Status
	if err := c.Get(ctx, "/v1/status", &s); err != nil || s.Intent != catalog.NotEnrolled {
		t.Fatalf("%+v, %v", s, err)
	}
	var a catalog.Assessment
	if err := c.Get(ctx, "/v1/assessment", &a); err == nil || !strings.Contains(err.Error(), "has not been assessed") {
		t.Errorf("error %v", err)
	}
	if err := c.Post(ctx, "/v1/assess", struct{}{}, &a); err != nil || a.Host != "web-1" {
		t.Fatalf("%+v, %v", a, err)
	}
	h.wantDid() // looking does nothing
	var e catalog.Enrolment
	if err := c.Post(ctx, "/v1/enrolment", agent.EnrolRequest{Intent: catalog.Pending}, &e); err != nil || e.Intent != catalog.Pending || e.By == "" {
		t.Fatalf("%+v, %v", e, err)
	}
	if err := c.Post(ctx, "/v1/enrolment", agent.EnrolRequest{Intent: catalog.Suspended}, &e); err == nil {
		t.Error("a pending host was suspended")
	}
	h.step()
	var events []agent.Event
	if err := c.Get(ctx, "/v1/history?most=1", &events); err != nil || len(events) != 1 {
		t.Errorf("%+v, %v", events, err)
	}
	if err := c.Get(ctx, "/v1/history?most=x", &events); err == nil {
		t.Error("most=x is a number?")
	}
	var runs []catalog.Run
	if err := c.Get(ctx, "/v1/runs", &runs); err != nil || len(runs) != 1 {
		t.Errorf("%+v, %v", runs, err)
	}
	var why map[string]string
	if err := c.Get(ctx, "/v1/why-restart", &why); err != nil || why["why"] == "" {
		t.Errorf("%v, %v", why, err)
	}
	var o catalog.Outlook
	if err := c.Get(ctx, "/v1/forecast", &o); err != nil || o.Host != "web-1" {
		t.Errorf("%+v, %v", o, err)
	}
	if err := c.Post(ctx, "/v1/rebase", agent.RebaseRequest{Baseline: "never"}, &struct{}{}); err == nil {
		t.Error("rebased to a baseline that is not there")
	}
}

// Who may change anything is looked at before the body is.
func TestStrangersMayAskAndNotChange(t *testing.T) {
	h := newHost(t, plain)
	s := httptest.NewServer(h.Handler()) // over TCP nobody is known
	defer s.Close()
	r, err := http.Get(s.URL + "/v1/status")
	if err != nil || r.StatusCode != http.StatusOK {
		t.Fatal(r, err)
	}
	r.Body.Close()
	r, err = http.Post(s.URL+"/v1/enrolment", "application/json", strings.NewReader("not even JSON"))
	if err != nil || r.StatusCode != http.StatusForbidden {
		t.Fatal(r, err)
	}
	r.Body.Close()
}

func TestClientSaysThatNoAgentRuns(t *testing.T) {
	c := agent.NewClient(filepath.Join(t.TempDir(), "nobody.sock"))
	if err := c.Get(context.Background(), "/v1/status", &struct{}{}); !errors.Is(err, agent.ErrNotRunning) {
		t.Errorf("error %v", err)
	}
}

func TestSocketOfADeadAgentIsTakenOver(t *testing.T) {
	path := filepath.Join(t.TempDir(), "agent.sock")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := agent.ListenSocket(path)
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
}

func TestMetricsTellTheState(t *testing.T) {
	h := newHost(t, plain)
	h.enrol()
	h.step()
	s := httptest.NewServer(h.Handler())
	defer s.Close()
	r, err := http.Get(s.URL + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`hotpatch_track_state{baseline="2026-01-baseline",hotpatch="2026-03-hotpatch",state="current"} 1`,
		`hotpatch_exposures{status="fixed-in-memory"} 1`, `hotpatch_runs_total{state="succeeded"} 1`, "hotpatch_repository_up 1",
	} {
		if !strings.Contains(string(b), want) {
			t.Errorf("no %q in\n%s", want, b)
		}
	}
}

func TestVEXSaysFixedOnlyWhenMemoryIs(t *testing.T) {
	h := newHost(t, plain)
	h.processes[812].busy = true
	h.enrol()
	h.step()
	status := func() (vex.Status, string) {
		t.Helper()
		v, err := h.VEX()
		if err != nil {
			t.Fatal(err)
		}
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		doc, err := vex.Parse(b) // the specification's own library reads it
		if err != nil {
			t.Fatal(err)
		}
		if len(doc.Statements) != 1 {
			t.Fatalf("%s", b)
		}
		s := doc.Statements[0]
		if err := s.Validate(); err != nil {
			t.Errorf("%v in %s", err, b)
		}
		return s.Status, s.Products[0].ID
	}
	if got, product := status(); got != vex.StatusAffected || product != "pkg:deb/debian/food@1.1" {
		t.Errorf("%s for %s; the disk is fixed and a process is not", got, product)
	}
	h.processes[812].busy = false
	h.now = h.now.Add(time.Minute)
	h.step()
	if got, _ := status(); got != vex.StatusFixed {
		t.Errorf("%s, want fixed", got)
	}
}
