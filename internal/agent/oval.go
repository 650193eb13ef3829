package agent

import (
	"encoding/xml"
	"fmt"
	"slices"
	"strings"
	"time"

	"hotpatch/internal/catalog"
	"hotpatch/internal/deb"
)

// OVAL is what this host runs, for scanners that judge by versions: a system
// characteristics document of OVAL 5.11.1 (oval-system-characteristics-schema,
// linux-system-characteristics-schema: dpkginfo_item). The version of a package
// is the one that is effective: the lowest that any process runs, where a
// hotpatch makes its base the fixed version; on disk where nothing runs it.
type OVAL struct {
	XMLName   xml.Name      `xml:"http://oval.mitre.org/XMLSchema/oval-system-characteristics-5 oval_system_characteristics"`
	Generator OVALGenerator `xml:"generator"`
	System    OVALSystem    `xml:"system_info"`
	Items     []OVALPackage `xml:"system_data>dpkginfo_item"`
}

// OVALGenerator is what made the document and when.
type OVALGenerator struct {
	Product   string `xml:"http://oval.mitre.org/XMLSchema/oval-common-5 product_name"`
	Schema    string `xml:"http://oval.mitre.org/XMLSchema/oval-common-5 schema_version"`
	Timestamp string `xml:"http://oval.mitre.org/XMLSchema/oval-common-5 timestamp"` // xsd:dateTime
}

// OVALSystem is the host.
type OVALSystem struct {
	Name       string `xml:"os_name"`
	Version    string `xml:"os_version"`
	Arch       string `xml:"architecture"`
	Host       string `xml:"primary_host_name"`
	Interfaces struct {
	} `xml:"interfaces"` // must be there, and is nobody's business
}

// OVALPackage is one package of the host with its effective version.
type OVALPackage struct {
	XMLName xml.Name     `xml:"http://oval.mitre.org/XMLSchema/oval-system-characteristics-5#linux dpkginfo_item"`
	ID      int          `xml:"id,attr"`
	Status  string       `xml:"status,attr"` // exists
	Message *OVALMessage `xml:"http://oval.mitre.org/XMLSchema/oval-system-characteristics-5 message"`
	Name    string       `xml:"name"`
	Arch    string       `xml:"arch"`
	Epoch   string       `xml:"epoch"`
	Release string       `xml:"release"`
	Version string       `xml:"version"`
	EVR     OVALEVR      `xml:"evr"`
}

// OVALMessage says why a version is not the one on disk.
type OVALMessage struct {
	Level string `xml:"level,attr"` // info or warning
	Text  string `xml:",chardata"`
}

// OVALEVR is epoch:version-release.
type OVALEVR struct {
	Datatype string `xml:"datatype,attr"` // debian_evr_string
	Text     string `xml:",chardata"`
}

// OVAL answers from the last measurement.
func (a *Agent) OVAL() (*OVAL, error) {
	a.mu.Lock()
	v := a.view
	a.mu.Unlock()
	if v.inventory == nil || v.catalog == nil {
		return nil, ErrNotAssessed
	}
	name, version, err := a.world.System()
	if err != nil {
		return nil, err
	}
	o := ovalOf(v.inventory, v.catalog)
	o.System.Name, o.System.Version = name, version
	return o, nil
}

// machines are the words of uname(1) for what Debian calls otherwise.
func machine(arch string) string {
	if arch == "amd64" {
		return "x86_64"
	}
	return arch
}

func ovalOf(inv *catalog.Inventory, c *catalog.Catalog) *OVAL {
	o := &OVAL{Generator: OVALGenerator{"hotpatch agent", "5.11.1", inv.Taken.UTC().Format(time.RFC3339)}}
	o.System.Arch, o.System.Host = machine(inv.Facts.Arch), inv.Host
	for i := range inv.Packages {
		p := &inv.Packages[i]
		if p.Root != "" {
			continue // a container is a system of its own
		}
		version, why := effective(inv, c, p)
		epoch, upstream, revision := splitVersion(version)
		item := OVALPackage{ID: len(o.Items) + 1, Status: "exists", Message: why, Name: p.Name, Arch: p.Arch,
			Epoch: epoch, Release: revision, Version: upstream}
		item.EVR = OVALEVR{"debian_evr_string", epoch + ":" + upstream}
		if revision != "" {
			item.EVR.Text += "-" + revision
		}
		o.Items = append(o.Items, item)
	}
	return o
}

// splitVersion takes a Debian version apart (deb-version(7)); no epoch is 0.
func splitVersion(v string) (epoch, upstream, revision string) {
	epoch, upstream = "0", v
	if e, rest, ok := strings.Cut(v, ":"); ok {
		epoch, upstream = e, rest
	}
	if i := strings.LastIndexByte(upstream, '-'); i >= 0 {
		upstream, revision = upstream[:i], upstream[i+1:]
	}
	return epoch, upstream, revision
}

// effective is the version of a package that counts, and why it is not the one
// on disk.
func effective(inv *catalog.Inventory, c *catalog.Catalog, p *catalog.Package) (string, *OVALMessage) {
	arts := artifactsOf(c, p.Name)
	if len(arts) == 0 {
		return p.Version, nil
	}
	lowest, running, carrying := "", 0, 0
	for i := range inv.Processes {
		q := &inv.Processes[i]
		if q.Root != p.Root {
			continue
		}
		if q.Unknown != "" {
			return base(arts, p.Version), &OVALMessage{"warning", fmt.Sprintf("on disk is %s; process %d may run something older and could not be read", p.Version, q.PID)}
		}
		for _, g := range q.Images {
			v, patched := runs(arts, q, g)
			if v == "" {
				continue
			}
			running++
			if patched {
				carrying++
			}
			if lowest == "" || compare(v, lowest) < 0 {
				lowest = v
			}
		}
	}
	if lowest == "" || lowest == p.Version && carrying == 0 {
		return p.Version, nil
	}
	level := "info"
	if compare(lowest, p.Version) < 0 {
		level = "warning"
	}
	return lowest, &OVALMessage{level, fmt.Sprintf("on disk is %s; in memory the oldest of %d images is as of %s, %d by hotpatch", p.Version, running, lowest, carrying)}
}

// compare orders versions. What is no version is ordered as text: catalogues and
// dpkg have none such.
func compare(a, b string) int {
	n, err := deb.Compare(a, b)
	if err != nil {
		return strings.Compare(a, b)
	}
	return n
}

// artifactsOf are those of a package in releases that were not taken back.
func artifactsOf(c *catalog.Catalog, name string) []*catalog.Artifact {
	var out []*catalog.Artifact
	for i := range c.Releases {
		r := &c.Releases[i]
		for k := range r.Artifacts {
			if r.Artifacts[k].Package == name && r.Life.State != catalog.Recalled {
				out = append(out, &r.Artifacts[k])
			}
		}
	}
	return out
}

// base is the lowest version that the artifacts know.
func base(arts []*catalog.Artifact, v string) string {
	for _, a := range arts {
		for _, w := range []string{a.Base, a.Fixed} {
			if w != "" && compare(w, v) < 0 {
				v = w
			}
		}
	}
	return v
}

// runs is the version that an image in a process is as good as; "": it is none
// of the package's.
func runs(arts []*catalog.Artifact, p *catalog.Process, g catalog.Loaded) (version string, patched bool) {
	old := ""
	for _, a := range arts {
		for _, c := range a.Images {
			switch {
			case c.Fixed == g.BuildID || c.Base == g.BuildID && c.Same: // nothing in it differs
				if !patched && (version == "" || compare(a.Fixed, version) > 0) {
					version = a.Fixed
				}
			case c.Base != g.BuildID:
			case a.Bundle != "" && slices.Contains(p.Patches, a.Bundle):
				if !patched || compare(a.Fixed, version) > 0 {
					version, patched = a.Fixed, true
				}
			case old == "" || compare(a.Base, old) < 0:
				old = a.Base
			}
		}
	}
	if version == "" {
		version = old
	}
	return version, patched
}
