package agent

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"time"

	"hotpatch/internal/catalog"
)

// VEX is what this host knows of the vulnerabilities that the catalogue knows,
// for scanners: OpenVEX 0.2.0 (github.com/openvex/spec). The product is the
// package as it is installed here; what counts is what runs in memory, so that
// a package whose file is fixed while an unpatched process lives is "affected",
// and one that is patched in memory is "fixed" whatever its version says.
type VEX struct {
	Context    string         `json:"@context"`
	ID         string         `json:"@id"`
	Author     string         `json:"author"`
	Role       string         `json:"role,omitempty"`
	Timestamp  time.Time      `json:"timestamp"`
	Version    int            `json:"version"`
	Tooling    string         `json:"tooling,omitempty"`
	Statements []VEXStatement `json:"statements"`
}

// VEXStatement is one vulnerability in one product.
type VEXStatement struct {
	Vulnerability VEXName      `json:"vulnerability"`
	Products      []VEXProduct `json:"products"`
	Status        string       `json:"status"` // not_affected, affected, fixed, under_investigation
	Notes         string       `json:"status_notes,omitempty"`
	Justification string       `json:"justification,omitempty"`
	Action        string       `json:"action_statement,omitempty"`
}

// VEXName is a vulnerability.
type VEXName struct {
	Name string `json:"name"`
}

// VEXProduct is a package by its package URL.
type VEXProduct struct {
	ID string `json:"@id"`
}

// VEX answers from the last assessment.
func (a *Agent) VEX() (*VEX, error) {
	as, err := a.Assessment()
	if err != nil {
		return nil, err
	}
	return vexOf(as)
}

func vexOf(as *catalog.Assessment) (*VEX, error) {
	v := &VEX{
		Context: "https://openvex.dev/ns/v0.2.0", Author: as.Host, Role: "host",
		Timestamp: as.At.UTC(), Version: 1, Tooling: "hotpatch agent", Statements: []VEXStatement{},
	}
	for _, x := range as.Exposure {
		v.Statements = append(v.Statements, statement(x))
	}
	body, err := json.Marshal(v.Statements)
	if err != nil {
		return nil, fmt.Errorf("write VEX: %w", err)
	}
	sum := sha256.Sum256(append([]byte(as.Host+"\x00"+as.At.UTC().Format(time.RFC3339Nano)+"\x00"), body...))
	v.ID = "https://openvex.dev/docs/host-" + hex.EncodeToString(sum[:16])
	return v, nil
}

func statement(x catalog.Exposure) VEXStatement {
	s := VEXStatement{Vulnerability: VEXName{x.CVE}, Products: []VEXProduct{{packageURL(x.Package, x.Version)}}}
	switch x.Status {
	case catalog.NotAffected:
		s.Status, s.Justification = "not_affected", "vulnerable_code_not_present"
		if x.Version == "" {
			s.Justification = "component_not_present"
		}
	case catalog.FixedOnDisk:
		s.Status, s.Notes = "fixed", "fixed on disk, and no process runs anything older"
	case catalog.FixedInMemory:
		s.Status = "fixed"
		s.Notes = fmt.Sprintf("every process that runs it has the fix, %d by hotpatch", patched(x))
		if !x.Disk {
			s.Notes += "; the file on disk has it not"
		}
	case catalog.Exposed:
		s.Status = "affected"
		s.Notes = exposedNotes(x)
		s.Action = fmt.Sprintf("apply release %s", x.Release)
		if x.Disk {
			s.Action = "patch or restart the processes that still run the old file"
		}
	default:
		s.Status, s.Notes = "under_investigation", "something that may run it could not be read"
	}
	return s
}

func patched(x catalog.Exposure) int {
	n := 0
	for _, p := range x.Processes {
		if p.Status == catalog.FixedInMemory {
			n++
		}
	}
	return n
}

// exposedNotes names what is exposed, a handful of processes at most.
func exposedNotes(x catalog.Exposure) string {
	var who []string
	for _, p := range x.Processes {
		if p.Status != catalog.Exposed {
			continue
		}
		if len(who) == 5 {
			who = append(who, "…")
			break
		}
		who = append(who, fmt.Sprintf("%d (%s)", p.PID, p.Exe))
	}
	switch {
	case len(who) > 0 && x.Disk:
		return "fixed on disk; still running the old code: " + strings.Join(who, ", ")
	case len(who) > 0:
		return "running the old code: " + strings.Join(who, ", ")
	}
	return "the next start loads the old code"
}

// packageURL names a Debian package (github.com/package-url/purl-spec, deb).
func packageURL(name, version string) string {
	p := "pkg:deb/debian/" + url.PathEscape(name)
	if version != "" {
		p += "@" + url.PathEscape(version)
	}
	return p
}
