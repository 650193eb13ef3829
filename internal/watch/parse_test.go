package watch

import (
	"encoding/binary"
	"testing"
	"time"
)

// message is what the kernel sends when process 812 calls execve.
func message() []byte {
	le := binary.LittleEndian
	m := make([]byte, 76)
	le.PutUint32(m, 76)
	le.PutUint32(m[16:], connectorProc)
	le.PutUint32(m[20:], connectorProc)
	le.PutUint16(m[32:], 40)
	le.PutUint32(m[36:], eventExec)
	le.PutUint64(m[44:], 5e9)
	le.PutUint32(m[52:], 813) // the thread
	le.PutUint32(m[56:], 812)
	return m
}

// opened is one fanotify event of process 812 with file descriptor 7.
func opened() []byte {
	le := binary.LittleEndian
	m := make([]byte, eventSize)
	le.PutUint32(m, eventSize)
	m[4] = 3
	le.PutUint16(m[6:], eventSize)
	le.PutUint64(m[8:], 0x20)
	le.PutUint32(m[16:], 7)
	le.PutUint32(m[20:], 812)
	return m
}

func TestExecEventNamesTheProcess(t *testing.T) {
	ev, err := parseExec(message())
	if err != nil || ev.what != eventExec || ev.pid != 812 || ev.monotonic != 5e9 {
		t.Errorf("%+v, %v", ev, err)
	}
	if _, err := parseExec(message()[:40]); err == nil {
		t.Error("half a message is no error")
	}
}

func TestExitEventTellsTheSignal(t *testing.T) {
	m := message()
	binary.LittleEndian.PutUint32(m[36:], eventExit)
	binary.LittleEndian.PutUint32(m[60:], 0x8b) // SIGSEGV, with a core
	ev, err := parseExec(m)
	if err != nil || ev.what != eventExit || ev.tid != 813 || ev.pid != 812 || ev.status&0x7f != 11 {
		t.Errorf("%+v, %v", ev, err)
	}
}

func TestOpenEventsAreReadUntilTheBadOne(t *testing.T) {
	b := append(opened(), opened()...)
	evs, err := parseOpens(b)
	if err != nil || len(evs) != 2 || evs[1].pid != 812 || evs[1].fd != 7 || evs[1].overflow {
		t.Errorf("%+v, %v", evs, err)
	}
	b[eventSize] = 200 // longer than what is left
	if evs, err = parseOpens(b); err == nil || len(evs) != 1 {
		t.Errorf("%+v, %v; want the first and an error", evs, err)
	}
	lost := opened()
	lost[9] = 0x40 // FAN_Q_OVERFLOW
	if evs, err = parseOpens(lost); err != nil || !evs[0].overflow {
		t.Errorf("%+v, %v; want an overflow", evs, err)
	}
}

func FuzzExecEvent(f *testing.F) {
	f.Add(message())
	f.Add([]byte{})
	f.Fuzz(func(_ *testing.T, b []byte) { parseExec(b) })
}

func FuzzOpenEvents(f *testing.F) {
	f.Add(opened())
	f.Add(append(opened(), 24))
	f.Fuzz(func(t *testing.T, b []byte) {
		if evs, _ := parseOpens(b); len(evs) > len(b)/eventSize {
			t.Fatalf("%d events in %d bytes", len(evs), len(b))
		}
	})
}

func TestQueueLooksOftenAtFirstAndGivesUp(t *testing.T) {
	var q queue
	now := time.Unix(1e9, 0)
	if !q.add(candidate{pid: 7, via: Open}, soon, now) {
		t.Fatal("no room in an empty queue")
	}
	looks := 0
	for q.wait(now) < time.Hour {
		now = now.Add(q.wait(now))
		for _, p := range q.due(now, 1) {
			looks++
			q.again(p, now)
		}
	}
	if looks != len(soon) {
		t.Errorf("%d looks, want %d", looks, len(soon))
	}
}

func TestQueueKeepsWhenAProcessBegan(t *testing.T) {
	var q queue
	began := time.Unix(1e9, 0)
	q.add(candidate{pid: 7, via: Exec, at: began}, once, began)
	opened := began.Add(2 * time.Millisecond)
	q.add(candidate{pid: 7, via: Open, at: opened}, soon, opened)
	got := q.due(opened.Add(time.Millisecond), 1)
	if len(got) != 1 || !got[0].at.Equal(began) || got[0].via != Open || len(got[0].plan) != len(soon) {
		t.Errorf("%+v", got)
	}
	if q.wait(opened) != time.Hour {
		t.Error("one process is two entries")
	}
}

func TestFullQueueSaysSo(t *testing.T) {
	var q queue
	now := time.Unix(1e9, 0)
	for pid := range maxPending {
		if !q.add(candidate{pid: pid + 1}, once, now) {
			t.Fatal("full too early")
		}
	}
	if q.add(candidate{pid: maxPending + 1}, once, now) {
		t.Error("no bound")
	}
}
