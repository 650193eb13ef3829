package deb_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"hotpatch/internal/deb"
)

const redisChangelog = `redis (5:7.0.15-1~deb12u9) bookworm-security; urgency=high

  * Non-maintainer upload by the Security Team.
  * CVE-2025-49844: A Lua script may
    misuse the garbage collector. (Closes: #1117553)

    - CVE-2025-46817, cve-2025-46818

 -- Jane Doe <jane@example.org>  Sun, 05 Oct 2025 10:11:09 +0200

redis (5:7.0.15-1~deb12u8) bookworm; urgency=medium, binary-only=yes

  * CVE-2025-46817 again, CVE-2025-1 is too short, XCVE-2025-99999 is no id.

 -- Jane Doe <jane@example.org>  Thu, 01 May 2025 00:00:00 +0000

redis (5:7.0.15-1~deb12u7) bookworm unstable; urgency=HIGH (remote hole)

  * CVE-2024-31449

 -- Jane Doe <jane@example.org>  Wed, 01 Jan 2025 00:00:00 +0000

Local variables:
mode: debian-changelog
End:
`

func parse(t *testing.T, text string) []deb.Entry {
	t.Helper()
	es, err := deb.ParseChangelog(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return es
}

func TestChangelogEntries(t *testing.T) {
	want := []deb.Entry{{
		Source: "redis", Version: "5:7.0.15-1~deb12u9", Distribution: "bookworm-security", Urgency: "high",
		Changes: []string{
			"* Non-maintainer upload by the Security Team.",
			"* CVE-2025-49844: A Lua script may",
			"  misuse the garbage collector. (Closes: #1117553)",
			"  - CVE-2025-46817, cve-2025-46818",
		},
		Author: "Jane Doe <jane@example.org>", Date: "Sun, 05 Oct 2025 10:11:09 +0200",
	}, {
		Source: "redis", Version: "5:7.0.15-1~deb12u8", Distribution: "bookworm", Urgency: "medium",
		Changes: []string{"* CVE-2025-46817 again, CVE-2025-1 is too short, XCVE-2025-99999 is no id."},
		Author:  "Jane Doe <jane@example.org>", Date: "Thu, 01 May 2025 00:00:00 +0000",
	}, {
		Source: "redis", Version: "5:7.0.15-1~deb12u7", Distribution: "bookworm unstable", Urgency: "high",
		Changes: []string{"* CVE-2024-31449"},
		Author:  "Jane Doe <jane@example.org>", Date: "Wed, 01 Jan 2025 00:00:00 +0000",
	}}
	if d := cmp.Diff(want, parse(t, redisChangelog)); d != "" {
		t.Error(d)
	}
}

func TestBetweenIsOpenBelowAndClosedAbove(t *testing.T) {
	es := parse(t, redisChangelog+"\nredis (not_a_version) x; urgency=low\n\n  * CVE-1999-0001\n\n -- a <a@b>  x\n")
	for _, tc := range []struct {
		base, fixed string
		versions    []string
		cves        []string
	}{
		{"5:7.0.15-1~deb12u7", "5:7.0.15-1~deb12u9", []string{"5:7.0.15-1~deb12u9", "5:7.0.15-1~deb12u8"}, []string{"CVE-2025-46817", "CVE-2025-46818", "CVE-2025-49844"}},
		{"5:7.0.15-1~deb12u7", "5:7.0.15-1~deb12u8", []string{"5:7.0.15-1~deb12u8"}, []string{"CVE-2025-46817"}},
		{"5:7.0.15-1~deb12u9", "5:7.0.15-1~deb12u9", nil, nil},
		{"5:7.0.15-1~deb12u9", "5:7.0.15-1~deb12u7", nil, nil},
		{"not_a_version", "5:7.0.15-1~deb12u7", nil, nil},
		{"0", "5:7.0.15-1", []string{"5:7.0.15-1~deb12u9", "5:7.0.15-1~deb12u8", "5:7.0.15-1~deb12u7"}, []string{"CVE-2024-31449", "CVE-2025-46817", "CVE-2025-46818", "CVE-2025-49844"}},
	} {
		got := deb.Between(es, tc.base, tc.fixed)
		var versions []string
		for _, e := range got {
			versions = append(versions, e.Version)
		}
		if d := cmp.Diff(tc.versions, versions); d != "" {
			t.Errorf("%s to %s: %s", tc.base, tc.fixed, d)
		}
		if d := cmp.Diff(tc.cves, deb.CVEs(got)); d != "" {
			t.Errorf("%s to %s: %s", tc.base, tc.fixed, d)
		}
	}
}

func TestChangelogBounds(t *testing.T) {
	for name, text := range map[string]string{
		"empty":         "",
		"nothing in it": "Release notes\n=============\n\n  * something\n",
		"endless line":  "a (1) x; urgency=low\n  " + strings.Repeat("x", 1<<20),
	} {
		if es, err := deb.ParseChangelog(strings.NewReader(text)); err == nil {
			t.Errorf("%s: accepted, %d entries", name, len(es))
		}
	}
	// Beyond 32 MiB a changelog is not believed.
	line := strings.Repeat("  * "+strings.Repeat("x", 1000)+"\n", 34000)
	if _, err := deb.ParseChangelog(strings.NewReader("a (1) x; urgency=low\n" + line)); err == nil {
		t.Error("34 MiB were accepted")
	}
}

func TestChangelogIsFoundInThePackage(t *testing.T) {
	doc := "./usr/share/doc/redis-tools/"
	nmu := "redis (5:7.0.15-1~deb12u9+b1) bookworm; urgency=low, binary-only=yes\n\n  * Rebuild.\n\n -- b <b@example.org>  Mon, 06 Oct 2025 00:00:00 +0000\n"
	for name, tc := range map[string]struct {
		entries []entry
		n       int
		first   string
	}{
		"usual":                    {[]entry{file(doc+"changelog.Debian.gz", gz(t, redisChangelog))}, 3, "5:7.0.15-1~deb12u9"},
		"native":                   {[]entry{file(doc+"changelog.gz", gz(t, redisChangelog))}, 3, "5:7.0.15-1~deb12u9"},
		"rebuild":                  {[]entry{file(doc+"changelog.Debian.amd64.gz", gz(t, nmu)), file(doc+"changelog.Debian.gz", gz(t, redisChangelog))}, 4, "5:7.0.15-1~deb12u9+b1"},
		"upstream's beside":        {[]entry{file(doc+"changelog.gz", gz(t, "free text\n")), file(doc+"changelog.Debian.gz", gz(t, redisChangelog))}, 3, "5:7.0.15-1~deb12u9"},
		"only upstream's":          {[]entry{file(doc+"changelog.gz", gz(t, "free text\n"))}, 0, ""},
		"link to another":          {[]entry{symlink("./usr/share/doc/redis-tools", "redis")}, 0, ""},
		"none":                     {nil, 0, ""},
		"of another package of it": {[]entry{file("./usr/share/doc/redis/changelog.Debian.gz", gz(t, redisChangelog))}, 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			es, err := open(t, makeDeb(t, ".xz", redisControl, tc.entries...)).Changelog()
			if tc.n == 0 {
				if !errors.Is(err, deb.ErrNoChangelog) {
					t.Errorf("error %v, want ErrNoChangelog", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if len(es) != tc.n || es[0].Version != tc.first {
				t.Errorf("%d entries, first %s", len(es), es[0].Version)
			}
		})
	}
	if _, err := open(t, makeDeb(t, "", redisControl, file(doc+"changelog.Debian.gz", "not gzip"))).Changelog(); err == nil || errors.Is(err, deb.ErrNoChangelog) {
		t.Errorf("a damaged changelog gives %v", err)
	}
}

func FuzzChangelog(f *testing.F) {
	f.Add(redisChangelog)
	f.Add("a (1) ; \n -- \n  x")
	f.Fuzz(func(t *testing.T, text string) {
		es, err := deb.ParseChangelog(strings.NewReader(text))
		if err == nil && len(es) == 0 {
			t.Error("no entry and no error")
		}
		for _, id := range deb.CVEs(deb.Between(es, "0", "9:9")) {
			if !strings.HasPrefix(id, "CVE-") {
				t.Errorf("id %q", id)
			}
		}
	})
}
