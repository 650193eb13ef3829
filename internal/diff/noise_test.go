package diff_test

import (
	"testing"

	"hotpatch/internal/diff"
)

func TestNoiseIsOnlyWhatNoProcessNeeds(t *testing.T) {
	for _, c := range []struct {
		base, fixed string
		noise       bool
	}{
		{"HAProxy version 2.6.12-1+deb12u3", "HAProxy version 2.6.12-1+deb12u4", true},
		{"matched at src/task.c:474\n", "matched at src/task.c:476\n", true},
		{"util.c line 12: bad", "util.c line 15: bad", true},
		{"built Nov 12 2025 10:11:12", "built Jan  3 2026 09:08:07", true},
		{"2025-11-12", "2026-01-03", true},
		{"built Fri Nov 20 17:44:31 UTC 2026 by us", "built Sat Jan  3 09:08:07 UTC 2026 by us", true},
		{"Fri, 20 Nov 2026 17:44:31 +0000", "Sat, 03 Jan 2026 09:08:07 +0000", true},
		{"built: 2026-11-20T17:44:31Z", "built: 2026-01-03T09:08:07Z", true},
		{"Fri", "Sat", false},
		{"Nov 20", "Jan 3", false},
		{"build 0123456789abcdef0123456789abcdef01234567", "build 76543210fedcba98765432100123456789abcdef", true},
		{"redis 7.0.15", "redis 7.0.16", true},
		{"%16s", "%15s", false},
		{"%.3f", "%.4f", false},
		{"1000", "100", false},
		{"TLSv1.2", "TLSv1.3", false},
		{"HTTP/1.0", "HTTP/1.1", false},
		{"127.0.0.1", "0.0.0.0", false},
		{"SECLEVEL=1", "SECLEVEL=2", false},
		{"SHA1", "SHA256", false},
		{"1.2.840.113549.1.1.4", "1.2.840.113549.1.1.11", false},
		{"2.5.29.17", "2.5.29.18", false},
		{"limit is 5", "limit is 6", false},
		{"version 1.2.3 of foo", "version 1.2.4 of bar", false},
		{"same", "same", false},
	} {
		if got := diff.NoiseStrings(c.base, c.fixed, "", ""); got != c.noise {
			t.Errorf("%q and %q: noise %v, want %v", c.base, c.fixed, got, c.noise)
		}
	}
	if !diff.NoiseStrings("demo 3.5+ds1", "demo 3.6+ds1", "1:3.5+ds1", "1:3.6+ds1") {
		t.Error("the package version is not recognised")
	}
}
