package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
	"time"
)

// conn sends text and reads what must come back, byte by byte.
type conn struct {
	c net.Conn
	r *bufio.Reader
}

func dial(addr string) (conn, error) {
	c, err := net.DialTimeout("tcp", addr, patience)
	return conn{c, bufio.NewReader(c)}, err
}

func (c conn) close() {
	if c.c != nil {
		c.c.Close()
	}
}

func (c conn) expect(send, want string) error {
	if err := c.c.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if _, err := io.WriteString(c.c, send); err != nil {
		return err
	}
	got := make([]byte, len(want))
	n, err := io.ReadFull(c.r, got)
	if err != nil {
		return fmt.Errorf("%w after %q instead of %q", err, got[:n], want)
	}
	if string(got) != want {
		return fmt.Errorf("%q instead of %q", got, want)
	}
	return nil
}

// redis works on keys of its own: strings, counters, lists, hashes, sorted
// sets, scripts and streams.
type redis struct {
	conn
	i, n int
}

func dialRedis(addr string, i int) (client, error) {
	c, err := dial(addr)
	if err != nil {
		return nil, err
	}
	r := &redis{conn: c, i: i}
	// Whatever an earlier connection left behind.
	if _, err := io.WriteString(c.c, command("DEL", r.key("n"), r.key("l"), r.key("h"), r.key("z"), r.key("x"))); err != nil {
		return nil, err
	}
	_, err = c.r.ReadString('\n')
	return r, err
}

func (r *redis) key(s string) string { return fmt.Sprintf("{%d}%s", r.i, s) }

func command(args ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(args))
	for _, a := range args {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(a), a)
	}
	return b.String()
}

func bulk(s string) string { return fmt.Sprintf("$%d\r\n%s\r\n", len(s), s) }

func (r *redis) round() (int, error) {
	r.n++
	v := fmt.Sprintf("value %d of %d", r.n, r.i)
	var send, want strings.Builder
	n := 0
	for _, x := range []struct {
		cmd    []string
		answer string
	}{
		{[]string{"SET", r.key("s"), v}, "+OK\r\n"},
		{[]string{"GET", r.key("s")}, bulk(v)},
		{[]string{"INCR", r.key("n")}, fmt.Sprintf(":%d\r\n", r.n)},
		{[]string{"DEL", r.key("l"), r.key("h"), r.key("z"), r.key("x")}, ""},
		{[]string{"RPUSH", r.key("l"), "a", v, "b"}, ":3\r\n"},
		{[]string{"LRANGE", r.key("l"), "1", "1"}, "*1\r\n" + bulk(v)},
		{[]string{"HSET", r.key("h"), "f", v}, ":1\r\n"},
		{[]string{"HGETALL", r.key("h")}, "*2\r\n" + bulk("f") + bulk(v)},
		{[]string{"ZADD", r.key("z"), "1", "one", "2", "two"}, ":2\r\n"},
		{[]string{"ZRANGE", r.key("z"), "0", "-1", "REV"}, "*2\r\n" + bulk("two") + bulk("one")},
		{[]string{"EVAL", "return redis.call('get', KEYS[1])", "1", r.key("s")}, bulk(v)},
		{[]string{"XADD", r.key("x"), "1-1", "k", v}, bulk("1-1")},
		{[]string{"XLEN", r.key("x")}, ":1\r\n"},
	} {
		if x.cmd[0] == "DEL" { // :0 the first time, :4 later
			x.answer = ":4\r\n"
			if r.n == 1 {
				continue
			}
		}
		n++
		send.WriteString(command(x.cmd...))
		want.WriteString(x.answer)
	}
	return n, r.expect(send.String(), want.String())
}

// memcached works on keys of its own.
type memcached struct {
	conn
	i, n int
}

func dialMemcached(addr string, i int) (client, error) {
	c, err := dial(addr)
	return &memcached{conn: c, i: i}, err
}

func (m *memcached) round() (int, error) {
	m.n++
	k := fmt.Sprintf("key%d", m.i)
	v := strings.Repeat(fmt.Sprintf("value %d ", m.n), 1+m.n%50)
	send := fmt.Sprintf("set %s 0 0 %d\r\n%s\r\nget %s\r\ngets absent\r\nset %sn 0 0 1\r\n%d\r\nincr %sn 1\r\ntouch %s 60\r\ndelete %sn\r\n",
		k, len(v), v, k, k, m.n%9, k, k, k)
	want := fmt.Sprintf("STORED\r\nVALUE %s 0 %d\r\n%s\r\nEND\r\nEND\r\nSTORED\r\n%d\r\nTOUCHED\r\nDELETED\r\n",
		k, len(v), v, m.n%9+1)
	return 7, m.expect(send, want)
}
