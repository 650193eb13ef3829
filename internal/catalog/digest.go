package catalog

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"maps"
	"slices"
)

// digestOf hashes parts with their lengths, so that no two lists of parts
// share a digest.
func digestOf(parts ...string) Digest {
	h := sha256.New()
	var n [8]byte
	for _, p := range parts {
		binary.BigEndian.PutUint64(n[:], uint64(len(p)))
		h.Write(n[:])
		h.Write([]byte(p))
	}
	return Digest(hex.EncodeToString(h.Sum(nil)))
}

func isHex(s string, least, most int) bool {
	if len(s) < least || len(s) > most {
		return false
	}
	for _, c := range []byte(s) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

func (d Digest) valid() bool { return isHex(string(d), 64, 64) }

func sortedKeys(set map[string]bool) []string { return sortedNames(set) }

func sortedNames[T any](m map[string]T) []string { return slices.Sorted(maps.Keys(m)) }
