package agent

import (
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/user"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"hotpatch/internal/catalog"
)

// The local socket speaks HTTP with JSON. Everybody on the host may ask how it
// stands; only root, or the user the agent runs as, may change what is wanted.
// Who asks is told by the kernel (SO_PEERCRED), not by the request.
//
//	GET  /v1/status /v1/assessment /v1/forecast /v1/why-restart /v1/vex /v1/oval /metrics
//	GET  /v1/history?after=N&most=N   /v1/runs?most=N
//	POST /v1/assess  {}
//	POST /v1/enrolment  {"intent": "pending"}
//	POST /v1/rebase     {"baseline": ""}
//	POST /v1/lift-bar   {"release": "…"}

// maxRequest bounds a request's body: they are a few words.
const maxRequest = 64 << 10

// Socket is where the agent listens.
const Socket = "/run/hotpatch/agent.sock"

// ListenSocket makes the socket; one that a dead agent left is replaced, one
// that answers is an error.
func ListenSocket(path string) (net.Listener, error) {
	if c, err := net.DialTimeout("unix", path, time.Second); err == nil {
		c.Close()
		return nil, fmt.Errorf("listen on %s: another agent answers there", path)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("listen: %w", err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	if err := os.Chmod(path, 0o666); err != nil { // who asks is looked at, see above
		l.Close()
		return nil, fmt.Errorf("listen: %w", err)
	}
	return l, nil
}

// Serve answers on l until ctx ends.
func (a *Agent) Serve(ctx context.Context, l net.Listener) error {
	s := &http.Server{
		Handler: a.Handler(), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second,
		WriteTimeout: 15 * time.Minute, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10,
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, peerKey{}, peerOf(c))
		},
		ErrorLog: slog.NewLogLogger(a.log.Handler(), slog.LevelDebug),
	}
	stop := context.AfterFunc(ctx, func() {
		late, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		_ = s.Shutdown(late) // what does not end by then is cut off below
		_ = s.Close()
	})
	defer stop()
	if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

type peerKey struct{}

// peer is who is at the other end of a connection.
type peer struct {
	uid   int
	known bool
}

func peerOf(c net.Conn) peer {
	u, ok := c.(*net.UnixConn)
	if !ok {
		return peer{}
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return peer{}
	}
	var cred *unix.Ucred
	var credErr error
	if err := raw.Control(func(fd uintptr) { cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); err != nil || credErr != nil {
		return peer{}
	}
	return peer{int(cred.Uid), true}
}

// name is what the journal calls somebody.
func (p peer) name() string {
	if u, err := user.LookupId(strconv.Itoa(p.uid)); err == nil {
		return u.Username
	}
	return "uid " + strconv.Itoa(p.uid)
}

func (p peer) mayChange() bool { return p.known && (p.uid == 0 || p.uid == os.Geteuid()) }

// Handler is the HTTP side of the socket.
func (a *Agent) Handler() http.Handler {
	m := http.NewServeMux()
	get := func(path string, answer func(*http.Request) (any, error)) {
		m.HandleFunc("GET "+path, func(w http.ResponseWriter, r *http.Request) {
			v, err := answer(r)
			reply(w, v, err)
		})
	}
	get("/v1/status", func(*http.Request) (any, error) { return a.Status() })
	get("/v1/assessment", func(*http.Request) (any, error) { return a.Assessment() })
	get("/v1/forecast", func(*http.Request) (any, error) { return a.Forecast() })
	get("/v1/why-restart", func(*http.Request) (any, error) {
		why, err := a.WhyRestart()
		return map[string]string{"why": why}, err
	})
	get("/v1/vex", func(*http.Request) (any, error) { return a.VEX() })
	m.HandleFunc("GET /v1/oval", func(w http.ResponseWriter, _ *http.Request) {
		o, err := a.OVAL()
		if err != nil {
			reply(w, nil, err)
			return
		}
		w.Header().Set("Content-Type", "application/xml")
		_ = writeXML(w, o) // to a client that went away
	})
	get("/v1/history", func(r *http.Request) (any, error) { return a.history(r) })
	get("/v1/runs", func(r *http.Request) (any, error) {
		most, err := number(r, "most", 50, 1000)
		if err != nil {
			return nil, err
		}
		return a.journal.Runs(int(most))
	})
	m.Handle("GET /metrics", a.Metrics())

	post(m, "/v1/assess", func(ctx context.Context, _ string, _ struct{}) (any, error) { return a.Look(ctx) })
	post(m, "/v1/enrolment", func(_ context.Context, by string, q EnrolRequest) (any, error) { return a.Enrol(q.Intent, by) })
	post(m, "/v1/rebase", func(_ context.Context, by string, q RebaseRequest) (any, error) {
		to, err := a.Rebase(q.Baseline, by)
		return RebaseRequest{Baseline: to}, err
	})
	post(m, "/v1/lift-bar", func(_ context.Context, by string, q LiftRequest) (any, error) {
		return struct{}{}, a.LiftBar(q.Release, by)
	})
	return m
}

// The bodies of requests.
type (
	EnrolRequest struct {
		Intent catalog.Intent `json:"intent"`
	}
	RebaseRequest struct {
		Baseline catalog.ReleaseID `json:"baseline"` // "": the newest
	}
	LiftRequest struct {
		Release catalog.ReleaseID `json:"release"`
	}
)

// refused is an answer with a status of its own.
type refused struct {
	status int
	err    error
}

func (r *refused) Error() string { return r.err.Error() }
func (r *refused) Unwrap() error { return r.err }

// post adds a request that changes something. Who asks is looked at before the
// body is.
func post[Q any](m *http.ServeMux, path string, do func(ctx context.Context, by string, q Q) (any, error)) {
	m.HandleFunc("POST "+path, func(w http.ResponseWriter, r *http.Request) {
		p, _ := r.Context().Value(peerKey{}).(peer)
		if !p.mayChange() {
			reply(w, nil, &refused{http.StatusForbidden, errors.New("only root may change what this host does")})
			return
		}
		q, err := decodeRequest[Q](r.Body)
		if err != nil {
			reply(w, nil, &refused{http.StatusBadRequest, err})
			return
		}
		v, err := do(r.Context(), p.name(), q)
		reply(w, v, err)
	})
}

// decodeRequest reads a body: one JSON value, no unknown fields, bounded.
func decodeRequest[Q any](body io.Reader) (Q, error) {
	var q Q
	d := json.NewDecoder(io.LimitReader(body, maxRequest))
	d.DisallowUnknownFields()
	if err := d.Decode(&q); err != nil {
		return q, fmt.Errorf("read request: %w", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return q, errors.New("read request: something follows after the value")
	}
	return q, nil
}

// Failure is the body of an answer that is an error.
type Failure struct {
	Error string `json:"error"`
}

func reply(w http.ResponseWriter, v any, err error) {
	w.Header().Set("Content-Type", "application/json")
	if err != nil {
		status := http.StatusConflict
		var r *refused
		switch {
		case errors.As(err, &r):
			status = r.status
		case errors.Is(err, ErrNotAssessed), errors.Is(err, ErrWorking):
			status = http.StatusServiceUnavailable
		}
		w.WriteHeader(status)
		v = Failure{err.Error()}
	}
	_ = json.NewEncoder(w).Encode(v) // to a client that went away
}

func writeXML(w io.Writer, v any) error {
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	e := xml.NewEncoder(w)
	e.Indent("", "  ")
	if err := e.Encode(v); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}

func (a *Agent) history(r *http.Request) (any, error) {
	most, err := number(r, "most", 100, 10000)
	if err != nil {
		return nil, err
	}
	if r.URL.Query().Get("after") == "" {
		return a.journal.LastEvents(int(most))
	}
	after, err := number(r, "after", 0, 1<<62)
	if err != nil {
		return nil, err
	}
	return a.journal.Events(after, int(most))
}

// number is a query field, within 0 and most.
func number(r *http.Request, name string, otherwise, most int64) (int64, error) {
	s := r.URL.Query().Get(name)
	if s == "" {
		return otherwise, nil
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 || n > most {
		return 0, &refused{http.StatusBadRequest, fmt.Errorf("%s=%.20q: not a number from 0 to %d", name, s, most)}
	}
	return n, nil
}
