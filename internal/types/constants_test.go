package types_test

import (
	"strings"
	"testing"

	"hotpatch/internal/testkit"
)

// States may be constants with names. What has another value is told where another one
// took the value it had: a limit that was raised is none of them.
func TestRenumberedConstantsAreFound(t *testing.T) {
	testkit.Tool(t, "g++")
	for _, c := range []struct {
		name, file, source string
		edits, want        []string
	}{
		{"constexpr", "a.cc", `
constexpr unsigned char kInit = 0, kRead = 1, kDone = 2;
struct conn { unsigned char state; };
int main(int n, char **v) { return ((conn *)v)->state == kRead ? kDone : kInit; }
`, []string{"kInit = 0, kRead = 1, kDone = 2", "kInit = 0, kVerify = 1, kRead = 2, kDone = 3"},
			[]string{"local: constant kDone: is 3 instead of 2, which kRead is now", "local: constant kRead: is 2 instead of 1, which kVerify is now"}},
		{"of a class", "a.cc", `
namespace net { struct conn { static constexpr int Init = 0, Read = 1; static const int Done = 2; int state; }; }
int main(int n, char **v) { return ((net::conn *)v)->state == net::conn::Read; }
`, []string{"Init = 0, Read = 1", "Init = 1, Read = 0"},
			[]string{"local: constant net::conn::Init: is 1 instead of 0, which Read is now", "local: constant net::conn::Read: is 0 instead of 1, which Init is now"}},
		{"of C", "a.c", `
static const int init = 0, reading = 1, done = 2;
struct conn { int state; };
int main(int n, char **v) { return ((struct conn *)v)->state == reading ? done : n == init; }
`, []string{"reading = 1, done = 2", "reading = 2, done = 1"},
			[]string{"local: constant done: is 1 instead of 2, which reading is now", "local: constant reading: is 2 instead of 1, which done is now"}},
		{"a raised limit", "a.cc", `
constexpr int kMost = 16, kOther = 32; constexpr bool kOn = true, kOff = false; constexpr long kLong = 1;
namespace other { constexpr int kFew = 5; }
template <int N> struct sized { static constexpr int size = N, half = N / 2; };
static int never = 7;
int main(int n, char **v) { constexpr int k = 1, l = 2; return n < kMost && kOn ? kOther + other::kFew + kLong + k + l + never : sized<4>::size + sized<4>::half; }
`, []string{"kMost = 16", "kMost = 32", "kOn = true, kOff = false", "kOn = false, kOff = true", "kLong = 1", "kLong = 16", "kFew = 5", "kFew = 16",
			"k = 1, l = 2", "k = 2, l = 1", "sized<4>", "sized<8>", "never = 7", "never = 16"}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			for _, flags := range [][]string{{"-g", "-O2"}, {"-gdwarf-4", "-O1"}} {
				isFound(t, changedTypes(t, c.file, c.source, strings.NewReplacer(c.edits...).Replace(c.source), flags...), c.want...)
			}
		})
	}
}
