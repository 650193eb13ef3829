package demo

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
)

// resp is a client of redis: RESP2, as far as the show needs it.
//
// https://redis.io/docs/latest/develop/reference/protocol-spec/
type resp struct {
	c net.Conn
	r *bufio.Reader
}

// patience is how long a client waits for an answer before it counts as failed.
const patience = 10 * time.Second

func dialRESP(addr string) (*resp, error) {
	c, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		return nil, err
	}
	return &resp{c: c, r: bufio.NewReader(c)}, nil
}

func (r *resp) Close() error { return r.c.Close() }

// pipeline sends all commands at once and reads as many answers, each as
// redis-cli would show it: "+OK", "-ERR …", ":1", or the string itself.
func (r *resp) pipeline(cmds ...[]string) ([]string, error) {
	var b []byte
	for _, cmd := range cmds {
		b = fmt.Appendf(b, "*%d\r\n", len(cmd))
		for _, arg := range cmd {
			b = fmt.Appendf(b, "$%d\r\n%s\r\n", len(arg), arg)
		}
	}
	if err := r.c.SetDeadline(time.Now().Add(patience)); err != nil {
		return nil, err
	}
	if _, err := r.c.Write(b); err != nil {
		return nil, err
	}
	out := make([]string, len(cmds))
	for i := range out {
		var err error
		if out[i], err = r.answer(); err != nil {
			return nil, err
		}
	}
	return out, nil
}

const maxAnswer = 1 << 20

func (r *resp) answer() (string, error) {
	line, err := r.r.ReadString('\n')
	if err != nil {
		return "", err
	}
	line = strings.TrimSuffix(line, "\r\n")
	if line == "" {
		return "", errors.New("empty answer")
	}
	switch line[0] {
	case '+', '-', ':':
		return line, nil
	case '$':
		n, err := strconv.Atoi(line[1:])
		if err != nil || n < -1 || n > maxAnswer {
			return "", fmt.Errorf("bad length in answer %q", line)
		}
		if n == -1 {
			return "(nil)", nil
		}
		buf := make([]byte, n+2)
		if _, err := io.ReadFull(r.r, buf); err != nil {
			return "", err
		}
		return string(buf[:n]), nil
	}
	return "", fmt.Errorf("answer %q is of a kind that was not asked for", line)
}
