package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"
)

// Client asks a running agent over its socket.
type Client struct {
	path string
	http http.Client
}

// NewClient prepares one; nothing is opened yet.
func NewClient(socket string) *Client {
	d := net.Dialer{Timeout: 2 * time.Second}
	return &Client{path: socket, http: http.Client{
		Timeout: 10 * time.Minute, // an assessment refreshes the catalogue
		Transport: &http.Transport{
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return d.DialContext(ctx, "unix", socket) },
		},
	}}
}

// ErrNotRunning: nobody answers at the socket.
var ErrNotRunning = errors.New("the agent does not run")

// maxAnswer bounds what is read from the socket.
const maxAnswer = 256 << 20

// Get asks and decodes the answer into v.
func (c *Client) Get(ctx context.Context, path string, v any) error {
	return c.do(ctx, http.MethodGet, path, nil, v)
}

// Raw asks and copies the answer as it is.
func (c *Client) Raw(ctx context.Context, path string, w io.Writer) error {
	b, err := c.ask(ctx, http.MethodGet, path, nil)
	if err == nil {
		_, err = w.Write(b)
	}
	return err
}

// Post asks for a change.
func (c *Client) Post(ctx context.Context, path string, q, v any) error {
	body, err := json.Marshal(q)
	if err != nil {
		return fmt.Errorf("encode request: %w", err)
	}
	return c.do(ctx, http.MethodPost, path, body, v)
}

func (c *Client) do(ctx context.Context, method, path string, body []byte, v any) error {
	b, err := c.ask(ctx, method, path, body)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("read the agent's answer to %s: %w", path, err)
	}
	return nil
}

func (c *Client) ask(ctx context.Context, method, path string, body []byte) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, method, "http://agent"+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	answer, err := c.http.Do(r)
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "dial" {
		return nil, fmt.Errorf("%w (%v)", ErrNotRunning, op.Err)
	}
	if err != nil {
		return nil, fmt.Errorf("ask the agent: %w", err)
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("read the agent's answer: %w", err)
	}
	if answer.StatusCode != http.StatusOK {
		var f Failure
		if json.Unmarshal(b, &f) != nil || f.Error == "" {
			f.Error = answer.Status
		}
		return nil, errors.New(f.Error)
	}
	return b, nil
}

// Local answers a client's questions in this process: for when no agent runs.
// Orders are taken from whoever runs it; that it may write the journal is the
// file system's decision.
func Local(a *Agent) *Client {
	return &Client{path: "(in this process)", http: http.Client{Transport: local{a}}}
}

type local struct{ a *Agent }

func (l local) RoundTrip(r *http.Request) (*http.Response, error) {
	w := &recorded{header: http.Header{}, status: http.StatusOK}
	ctx := context.WithValue(r.Context(), peerKey{}, peer{os.Geteuid(), true})
	l.a.Handler().ServeHTTP(w, r.WithContext(ctx))
	return &http.Response{Status: http.StatusText(w.status), StatusCode: w.status, Header: w.header, Body: io.NopCloser(&w.body), Request: r}, nil
}

// recorded is an http.ResponseWriter in memory.
type recorded struct {
	header http.Header
	body   bytes.Buffer
	status int
}

func (w *recorded) Header() http.Header         { return w.header }
func (w *recorded) Write(b []byte) (int, error) { return w.body.Write(b) }
func (w *recorded) WriteHeader(status int)      { w.status = status }
