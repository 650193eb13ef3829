package diff_test

import (
	"strings"
	"testing"

	"hotpatch/internal/diff"
)

// How objects start is remembered from their ends; it is what comparing says.
func TestRestsOfObjectsAreComparedAsTheWholeIs(t *testing.T) {
	const source = `
const char *names[9] = {"a", "b", "c", "d", "e", "f", "g", "h"};
int numbers[21] = {0, 0, 3, 4, 5, 0, 7, [20] = 1}, none[40], empty[9] = {0};
struct __attribute__((packed)) { int n; const char *s; } rows[5] = {{1, "x"}, {2, "y"}, {3, "z"}};
int *const fixed[] = {numbers, numbers + 1, 0, none};
int main(int n, char **v) { return names[n][0] + numbers[n] + none[n] + empty[n] + rows[n].n + *fixed[n & 1] + v[0][0]; }
`
	base := compile(t, source)
	for _, c := range [][2]string{{"", ""}, {`"f"`, `"F"`}, {"5, 0, 7", "5, 1, 7"}, {`"z"`, `"q"`}, {"numbers + 1", "numbers + 2"}} {
		d := compare(t, base, compile(t, strings.Replace(source, c[0], c[1], 1)))
		at, alike := diff.RestsDiffer(d)
		if at != "" || alike < 10 {
			t.Errorf("%q: %d alike, then %s", c[1], alike, at)
		}
	}
}
