package deb

import (
	"strconv"
	"strings"
)

// Origin is where a version comes from: what the Release file of its suite
// says of itself (signed by the archive), repository format, "Release files".
type Origin struct {
	Origin    string `json:"origin"` // "Debian"
	Label     string `json:"label"`  // "Debian-Security"
	Suite     string `json:"suite"`  // "oldstable-security"
	Codename  string `json:"codename"`
	Component string `json:"component"`
	Version   string `json:"version,omitempty"` // of the suite: "12.15"
	Site      string `json:"site,omitempty"`    // host name of the mirror; "" for a directory
}

// Security says that a suite exists for security updates: Debian, Ubuntu and
// their kin say so in label or suite.
func (o Origin) Security() bool {
	return strings.HasSuffix(o.Suite, "-security") || strings.HasSuffix(o.Codename, "-security") ||
		strings.HasSuffix(o.Label, "-Security") || strings.HasSuffix(o.Suite, "/updates")
}

// listedAt is one line of apt-cache policy that names an index.
type listedAt struct{ prio, where string } // "http://deb.debian.org/debian bookworm/main amd64 Packages"

// parseOrigins reads apt-cache policy without arguments: for every index a line
// with priority and place, one "release k=v,..." and one "origin SITE".
// The key is the place.
func parseOrigins(text string) map[string]Origin {
	out := map[string]Origin{}
	at := ""
	for line := range strings.SplitSeq(text, "\n") {
		if strings.HasPrefix(line, "Pinned packages") {
			break
		}
		trimmed := strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "     ") && strings.HasPrefix(trimmed, "release ") && at != "":
			out[at] = parseRelease(strings.TrimPrefix(trimmed, "release "))
		case strings.HasPrefix(line, "     ") && strings.HasPrefix(trimmed, "origin ") && at != "":
			o := out[at]
			o.Site = strings.TrimPrefix(trimmed, "origin ")
			out[at] = o
		default:
			if l, ok := parsePlace(trimmed); ok {
				at = l.where
			} else {
				at = ""
			}
		}
	}
	return out
}

// parsePlace reads "500 http://x/debian bookworm/main amd64 Packages".
func parsePlace(line string) (listedAt, bool) {
	prio, where, ok := strings.Cut(strings.TrimSpace(line), " ")
	if _, err := strconv.Atoi(prio); !ok || err != nil {
		return listedAt{}, false
	}
	return listedAt{prio, strings.TrimSpace(where)}, true
}

// parseRelease reads "v=12.15,o=Debian,a=oldstable,n=bookworm,l=Debian,c=main,b=amd64".
func parseRelease(text string) Origin {
	var o Origin
	for item := range strings.SplitSeq(text, ",") {
		k, v, _ := strings.Cut(item, "=")
		switch k {
		case "v":
			o.Version = v
		case "o":
			o.Origin = v
		case "a":
			o.Suite = v
		case "n":
			o.Codename = v
		case "l":
			o.Label = v
		case "c":
			o.Component = v
		}
	}
	return o
}

// policy is what apt thinks of one package.
type policy struct {
	name                 string // with architecture where it is a foreign one
	installed, candidate string
	versions             []policyVersion
}

type policyVersion struct {
	version string
	at      []string // places, without dpkg's own status
}

const none = "(none)"

// parsePolicy reads apt-cache policy NAME...; what cannot be understood is
// passed over.
//
//	nginx:
//	  Installed: (none)
//	  Candidate: 1.22.1-9+deb12u10
//	  Version table:
//	     1.22.1-9+deb12u10 500
//	        500 http://deb.debian.org/debian-security bookworm-security/main amd64 Packages
//	 *** 1.22.1-9+deb12u9 500
//	        100 /var/lib/dpkg/status
func parsePolicy(text string) []policy {
	var out []policy
	table := false
	for line := range strings.SplitSeq(text, "\n") {
		if name, ok := strings.CutSuffix(line, ":"); ok && name != "" && name[0] != ' ' {
			out = append(out, policy{name: name})
			table = false
			continue
		}
		if len(out) == 0 {
			continue
		}
		p := &out[len(out)-1]
		switch {
		case strings.HasPrefix(line, "  Installed: "):
			p.installed = version0(line[len("  Installed: "):])
		case strings.HasPrefix(line, "  Candidate: "):
			p.candidate = version0(line[len("  Candidate: "):])
		case strings.HasPrefix(line, "  Version table:"):
			table = true
		case !table || len(line) < 6:
		case strings.HasPrefix(line, "        "): // a place
			if l, ok := parsePlace(line); ok && len(p.versions) > 0 && strings.HasSuffix(l.where, " Packages") {
				v := &p.versions[len(p.versions)-1]
				v.at = append(v.at, l.where)
			}
		case strings.HasPrefix(line, " *** "), strings.HasPrefix(line, "     "):
			v, _, _ := strings.Cut(strings.TrimSpace(line[5:]), " ")
			if _, err := parseVersion(v); err == nil {
				p.versions = append(p.versions, policyVersion{version: v})
			}
		}
	}
	return out
}

func version0(s string) string {
	if s = strings.TrimSpace(s); s == none {
		return ""
	}
	return s
}
