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

// Post asks for a change.
func (c *Client) Post(ctx context.Context, path string, q, v any) error {
	body, err := json.Marshal(q)
	if err != nil {
		return fmt.Errorf("encode request: %w", err)
	}
	return c.do(ctx, http.MethodPost, path, body, v)
}

func (c *Client) do(ctx context.Context, method, path string, body []byte, v any) error {
	r, err := http.NewRequestWithContext(ctx, method, "http://agent"+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	answer, err := c.http.Do(r)
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "dial" {
		return fmt.Errorf("%w (%v)", ErrNotRunning, op.Err)
	}
	if err != nil {
		return fmt.Errorf("ask the agent: %w", err)
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("read the agent's answer: %w", err)
	}
	if answer.StatusCode != http.StatusOK {
		var f Failure
		if json.Unmarshal(b, &f) != nil || f.Error == "" {
			f.Error = answer.Status
		}
		return errors.New(f.Error)
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("read the agent's answer to %s: %w", path, err)
	}
	return nil
}
