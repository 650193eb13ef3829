package stamps_test

import (
	"testing"

	"hotpatch/internal/stamps"
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
		{"2025-11-12", "2026-01-03", false},
		{"released 2025-11-12", "released 2026-01-03", true},
		{"released 2026-11-12", "released 2026-01-03", false},
		{"released 2025-11-12", "released 2026-02-30", false},
		{"2016-10-21T00:00:00Z", "2017-10-21T00:00:00Z", false},
		{"Nov 12 2025", "Jan  3 2026", false},
		{"compiled Nov 12 2025", "compiled Jan  3 2026", true},
		{"compiled Nov 12 2025, 10:11:12", "compiled Jan  3 2026, 09:08:07", true},
		{"compiled Nov 12 2025, open till 10:11:12", "compiled Jan  3 2026, open till 09:08:07", false},
		{"(Nov 12 2025 10:11:12)", "(Jan  3 2026 09:08:07)", false},
		{"valid after Nov 12 2025", "valid after Jan  3 2026", false},
		{"not built before Nov 12 2025", "not built before Jan  3 2026", false},
		{"requires release date Nov 12 2025", "requires release date Jan  3 2026", false},
		{"Jan 10 12:00:00 2025 GMT", "Jan 10 12:00:00 2026 GMT", false},
		{"built Jan 10 12:00:00 2025 GMT", "built Jan 10 12:00:00 2026 GMT", false},
		{"built Jan 10 12:00:00 2025", "built Jan 10 12:00:00 2026", true},
		{"Jan 10 12:00:00 2025", "Jan 10 12:00:00 2026", false},
		{"Fri Jan 10 12:00:00 2025", "Sat Jan 10 12:00:00 2026", false},
		{"Fri Jan 10 12:00:00 UTC 2025", "Sat Jan 10 12:00:00 UTC 2026", false},
		{"relay.example.cc:8080", "relay.example.cc:8443", false},
		{"relay.cc:8080", "relay.cc:8443", false},
		{"relay.cc:17", "relay.cc:18", true},
		{"relay2.cc:17", "relay2.cc:18", false},
		{"src/relay.cc:8080", "src/relay.cc:8443", false},
		{"src/relay.cc:117", "src/relay.cc:118", true},
		{"https://relay.cc:17/", "https://relay.cc:18/", false},
		{"connect to relay.cc:17", "connect to relay.cc:18", false},
		{"task.c:80", "task.c:443", false},
		{"src/task.c:80", "src/task.c:443", true},
		{"host.task.c:17", "host.task.c:18", false},
		{"at task.c:17", "at task.c:18", false},
		{"Jan  3 2026", "Nov 12 2025", false},
		{"02:00:00", "03:00:00", false},
		{"built Thu Nov 20 17:44:31 UTC 2025 by us", "built Sat Jan  3 09:08:07 UTC 2026 by us", true},
		{"Fri, 20 Nov 2025 17:44:31 +0000", "Sat, 03 Jan 2026 09:08:07 +0000", false},
		{"built on Thu, 20 Nov 2025 17:44:31 +0000", "built on Sat, 03 Jan 2026 09:08:07 +0000", true},
		{"Expires: Thu, 19 Nov 1981 08:52:00 GMT", "Expires: Thu, 01 Jan 1970 00:00:00 GMT", false},
		{"built: 2025-11-20T17:44:31Z", "built: 2026-01-03T09:08:07Z", true},
		{"Fri", "Sat", false},
		{"Nov 20", "Jan 3", false},
		{"0123456789abcdef0123456789abcdef01234567", "76543210fedcba98765432100123456789abcdef", false},
		{"git 1.8-14-g0123abc", "git 1.8-15-gabc0123", true},
		{"redis 7.0.15", "redis 7.0.16", false},
		{"Version: 7.0.15", "Version: 7.0.16", false},
		{"X-Api-Version: 2.0.1", "X-Api-Version: 2.0.2", false},
		{"X-Api-Version 2.0.1", "X-Api-Version 2.0.2", false},
		{"UPDATE meta SET version='1.0.3'", "UPDATE meta SET version='1.0.4'", false},
		{"<?x version=\"1.0.3\"?>", "<?x version=\"1.0.4\"?>", false},
		{"SELECT * FROM t WHERE released: 2024-01-05", "SELECT * FROM t WHERE released: 2025-01-05", false},
		{"/lib/firmware/x-1.2-3-gabcdef1.bin", "/lib/firmware/x-1.2-4-gabcdef2.bin", false},
		{"x-1.2-3-gabcdef1", "x-1.2-4-gabcdef2", false},
		{"1.2-3-gabcdef1", "1.2-4-gabcdef2", true},
		{"demo version 1.2-3-gabcdef1", "demo version 1.2-4-gabcdef2", true},
		{"/usr/lib/demo-2.6.12-1+deb12u3/x", "/usr/lib/demo-2.6.12-1+deb12u4/x", false},
		{"demo/2.6.12-1+deb12u3", "demo/2.6.12-1+deb12u4", true},
		{"minimum version 1.2.3", "minimum version 1.2.4", false},
		{"min_version 1.2.3", "min_version 1.2.4", false},
		{"version: 1.2.3 or newer", "version: 1.2.4 or newer", false},
		{"requires version 1.2.3", "requires version 1.2.4", false},
		{"needs\nversion 1.2.3", "needs\nversion 1.2.4", false},
		{"protocol version 1.2.3", "protocol version 1.2.4", false},
		{"fixed since release 1.2.3", "fixed since release 1.2.4", false},
		{"at least version 1.2.3", "at least version 1.2.4", false},
		{"max. version 1.2.3", "max. version 1.2.4", false},
		{"older than version 1.2.3", "older than version 1.2.4", false},
		{"version == 1.2.3", "version == 1.2.4", false},
		{"requires OpenSSL 3.0.20 7 Apr 2026", "requires OpenSSL 3.0.22 25 Aug 2026", false},
		{"needs 2.6.12-1+deb12u3", "needs 2.6.12-1+deb12u4", false},
		{"version 1.2.3\n  -r  resume from", "version 1.2.4\n  -r  resume from", true},
		{"1.2.3", "1.2.4", false},
		{"127.0.0.1:8080", "0.0.0.0:8080", false},
		{"00:00:00:00:00:01", "00:00:00:00:00:02", false},
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
		{"OpenSSL 3.0.20 7 Apr 2026", "OpenSSL 3.0.22 25 Aug 2026", true},
		{"OpenSSL 3.0.20 7 Apr 2026", "OpenSSL 3.0.20 25 Aug 2026", false},
		{"same", "same", false},
	} {
		if got := stamps.Only(c.base, c.fixed, stamps.Origin{}, stamps.Origin{}); got != c.noise {
			t.Errorf("%q and %q: noise %v, want %v", c.base, c.fixed, got, c.noise)
		}
	}
	if !stamps.Only("demo 3.5+ds1", "demo 3.6+ds1", stamps.Origin{Version: "1:3.5+ds1"}, stamps.Origin{Version: "1:3.6+ds1"}) {
		t.Error("the package version is not recognised")
	}
	base, fixed := stamps.Origin{"1:7.0.15-1+deb12u1", "0123456789abcdef0123456789abcdef01234567"}, stamps.Origin{"1:7.0.15-1+deb12u2", "76543210fedcba98765432100123456789abcdef"}
	for _, c := range []struct {
		base, fixed string
		noise       bool
	}{
		{"id 0123456789abcdef0123456789abcdef01234567", "id 76543210fedcba98765432100123456789abcdef", true},
		{"id 0123456789abcdef0123456789abcdef01234567", "id 06543210fedcba98765432100123456789abcdef", false},
		{"/usr/lib/debug/.build-id/01/23456789abcdef0123456789abcdef01234567.debug", "/usr/lib/debug/.build-id/76/543210fedcba98765432100123456789abcdef.debug", false},
		{"7.0.15-1+deb12u1", "7.0.15-1+deb12u2", true},
		{"7.0.15", "7.0.16", false},
		{"Version: 7.0.15-1+deb12u1", "Version: 7.0.15-1+deb12u2", true},
		{"/usr/share/7.0.15-1+deb12u1", "/usr/share/7.0.15-1+deb12u2", false},
	} {
		if got := stamps.Only(c.base, c.fixed, base, fixed); got != c.noise {
			t.Errorf("%q and %q: noise %v, want %v", c.base, c.fixed, got, c.noise)
		}
	}
	if upstream := (stamps.Origin{Version: "7.0.16-1"}); !stamps.Only("redis 7.0.15", "redis 7.0.16", base, upstream) {
		t.Error("the version of the source is not recognised")
	}
}
