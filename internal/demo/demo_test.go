package demo

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hotpatch/internal/testkit"
)

func TestRedisCRCIsTheOneOfRedis(t *testing.T) {
	// The check value that redis's own crc64.c names.
	if got := redisCRC([]byte("123456789")); got != 0xe9c6d914c4b8d9ca {
		t.Errorf("crc %#x", got)
	}
}

func TestSharedMessageIsWhatRedisWouldDump(t *testing.T) {
	// Compared by hand with DUMP of the same stream on redis 7.0, but for the
	// second consumer.
	const want = "1301100000000000000001000000000000000" + "01d1d0000000a00010100010101816b0200010201000100018176020401ff" +
		"010100010000000101016701000101" + "00000000000000010000000000000000" + "0068e5cf8b01000001" +
		"02" + "05616c696365" + "0068e5cf8b010000" + "01" + "00000000000000010000000000000000" +
		"03626f62" + "0068e5cf8b010000" + "01" + "00000000000000010000000000000000" + "0a00"
	got := hex.EncodeToString([]byte(sharedMessage()))
	if !strings.HasPrefix(got, want) {
		t.Errorf("payload\n%s, want\n%s", got, want)
	}
	if len(got) != len(want)+16 {
		t.Errorf("%d digits follow the body, want the 16 of its checksum", len(got)-len(want))
	}
}

// fakeRedis answers every read with the given bytes.
func fakeRedis(t *testing.T, answer string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				buf := make([]byte, 4096)
				for {
					if _, err := c.Read(buf); err != nil {
						return
					}
					if _, err := io.WriteString(c, answer); err != nil {
						return
					}
				}
			}()
		}
	}()
	return l.Addr().String()
}

func TestClientReadsAnswersOfEveryKind(t *testing.T) {
	c, err := dialRESP(fakeRedis(t, "+OK\r\n-ERR no\r\n:12\r\n$5\r\na\r\nbc\r\n$-1\r\n$0\r\n\r\n"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	got, err := c.pipeline(make([][]string, 6)...)
	if err != nil {
		t.Fatal(err)
	}
	if want := "+OK|-ERR no|:12|a\r\nbc|(nil)|"; strings.Join(got, "|") != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestClientRefusesWhatIsNoAnswer(t *testing.T) {
	for _, answer := range []string{"\r\n", "hello\r\n", "$x\r\n", "$-2\r\n", "$99999999999\r\n", "*1\r\n:1\r\n"} {
		c, err := dialRESP(fakeRedis(t, answer))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := c.pipeline([]string{"PING"}); err == nil {
			t.Errorf("%q was read as %q", answer, got)
		}
		c.Close()
	}
}

// odd is a worker that fails or dawdles on demand.
type odd struct {
	rounds *int
	fail   func(n int) error
}

func (o odd) Close() error { return nil }

func (o odd) Round() (int, error) {
	*o.rounds++
	if *o.rounds == 3 {
		time.Sleep(30 * time.Millisecond)
	}
	return 5, o.fail(*o.rounds)
}

func TestLoadCountsFailuresAndTheLongestWait(t *testing.T) {
	boom := errors.New("boom")
	rounds := 0
	enough := make(chan struct{})
	l, err := startLoad(1, func(int) (worker, error) {
		return odd{&rounds, func(n int) error {
			if n == 10 {
				close(enough)
			}
			if n == 4 {
				return boom
			}
			return nil
		}}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	<-enough
	l.stop()
	l.stop()
	sum := l.total()
	if sum.Failed != 5 || !errors.Is(sum.First, boom) {
		t.Errorf("%d failed, first %v; want the 5 of one round and boom", sum.Failed, sum.First)
	}
	if sum.Requests < 50 {
		t.Errorf("%d requests in ten rounds of five", sum.Requests)
	}
	if d := l.mark(); d < 30*time.Millisecond || d > 10*time.Second {
		t.Errorf("longest wait %v, want the 30 ms that one round took", d)
	}
	if d := l.mark(); d != 0 {
		t.Errorf("a mark later it is still %v", d)
	}
}

func TestLoadSaysWhenItCannotStart(t *testing.T) {
	boom := errors.New("boom")
	n := 0
	if _, err := startLoad(3, func(i int) (worker, error) {
		if i == 2 {
			return nil, boom
		}
		return odd{&n, func(int) error { return nil }}, nil
	}); !errors.Is(err, boom) {
		t.Errorf("%v, want boom", err)
	}
}

func TestDependenciesNameLibraries(t *testing.T) {
	got := strings.Join(libraryNames("adduser, libc6 (>= 2.34), libjemalloc2:any (>= 3) | libfoo, liblzf1"), " ")
	if want := "libc6 libjemalloc2 liblzf1"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestNumbersAreReadable(t *testing.T) {
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567", -1234: "-1,234"} {
		if got := thousands(n); got != want {
			t.Errorf("%d: %q", n, got)
		}
	}
	for d, want := range map[time.Duration]string{412 * time.Microsecond: "0.41 ms", 12340 * time.Microsecond: "12 ms", 1240 * time.Millisecond: "1.2 s"} {
		if got := round(d); got != want {
			t.Errorf("%v: %q", d, got)
		}
	}
}

func TestPlainPageHoldsOnlyWhatWasDone(t *testing.T) {
	var b bytes.Buffer
	p := newPage(&b, false)
	p.title("title")
	p.doing("build", "something")
	p.did("build", p.bold("done"), "and a long line "+strings.Repeat("word ", 30))
	p.table([][2]string{{"a", "1"}, {"bcd", p.good("2")}})
	const want = `
  title
  build     done
            and a long line word word word word word word word word word word word word word
            word word word word word word word word word word word word word word word word word
  a    1
  bcd  2
`
	if got := trimRight(b.String()); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func trimRight(s string) string {
	lines := strings.Split(s, "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	return strings.Join(lines, "\n")
}

// TestTallyOverreadsOnlyWithoutTheFix plays both sides of the stand-in.
func TestTallyOverreadsOnlyWithoutTheFix(t *testing.T) {
	testkit.Tools(t, "gcc")
	work := t.TempDir()
	s, err := prepareLocal(context.Background(), newPage(io.Discard, false), work)
	if err != nil {
		t.Fatal(err)
	}
	for exe, want := range map[string]func(string) bool{s.base: s.isOld, s.fixed: s.isNew} {
		d, err := startTally(context.Background(), exe, t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		l, err := startLoad(2, func(i int) (worker, error) { return s.open(d, i) })
		if err != nil {
			t.Fatal(err)
		}
		for range 5 {
			if answer, err := s.ask(context.Background(), d); err != nil || !want(answer) {
				t.Errorf("%s answered %q, %v", exe, answer, err)
			}
		}
		l.stop()
		if sum := l.total(); sum.Failed != 0 || sum.Requests == 0 {
			t.Errorf("%d of %d requests failed: %v", sum.Failed, sum.Requests, sum.First)
		}
		if err := d.stop(); err != nil {
			t.Error(err)
		}
		if err := d.alive(); err == nil {
			t.Error("a stopped server is said to be alive")
		}
	}
}

func TestServerThatDoesNotStartSaysWhy(t *testing.T) {
	testkit.Tools(t, "gcc")
	work := t.TempDir()
	script := filepath.Join(work, "server")
	if err := os.WriteFile(script, []byte("#!/bin/sh\necho cannot bind\nexit 3\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	_, err := startTally(context.Background(), script, work)
	if err == nil || !strings.Contains(err.Error(), "cannot bind") || !strings.Contains(err.Error(), "exit status 3") {
		t.Errorf("error %v, want its last words and its exit status", err)
	}
}

// TestShowOfTheCompiledServer is the whole show, as `hotpatch demo --local`.
func TestShowOfTheCompiledServer(t *testing.T) {
	testkit.Tools(t, "gcc")
	dir := t.TempDir()
	var b bytes.Buffer
	if err := Run(t.Context(), Options{Out: &b, Local: true, Dir: dir}); err != nil {
		t.Fatalf("%v\n%s", err, b.String())
	}
	var steps []string
	for line := range strings.SplitSeq(b.String(), "\n") {
		if f := strings.Fields(line); len(f) > 0 && strings.HasPrefix(line, margin+f[0]) && len(f[0]) < column {
			steps = append(steps, f[0])
		}
	}
	const want = "hotpatch compile A start ask build review apply ask revert ask apply ask requests failed longest longest hotpatch process"
	if got := strings.Join(steps, " "); got != want {
		t.Errorf("steps\n%s, want\n%s", got, want)
	}
	for _, must := range []string{"verdict clean", "correct horse", "error: longer than the text", " · 0 of ", " requests failed · longest wait ", "1 function redirected"} {
		if !strings.Contains(b.String(), must) {
			t.Errorf("the show does not say %q", must)
		}
	}
	if t.Failed() {
		t.Log(b.String())
	}
	left, err := filepath.Glob(filepath.Join(dir, "run-*"))
	if err != nil || len(left) != 0 {
		t.Errorf("%v was left behind, %v", left, err)
	}
}
