package agent_test

import (
	"encoding/xml"
	"strings"
	"testing"
	"time"
)

// What a scanner reads: the shape of the OVAL schemas, in a structure of its
// own so that the names are checked and not repeated.
type ovalDocument struct {
	XMLName   xml.Name
	Generator struct {
		Schema    string    `xml:"http://oval.mitre.org/XMLSchema/oval-common-5 schema_version"`
		Timestamp time.Time `xml:"http://oval.mitre.org/XMLSchema/oval-common-5 timestamp"`
	} `xml:"generator"`
	Info struct {
		Children []struct{ XMLName xml.Name } `xml:",any"`
	} `xml:"system_info"`
	Data struct {
		Items []struct {
			XMLName  xml.Name
			ID       int    `xml:"id,attr"`
			Status   string `xml:"status,attr"`
			Children []struct {
				XMLName  xml.Name
				Datatype string `xml:"datatype,attr"`
				Text     string `xml:",chardata"`
			} `xml:",any"`
		} `xml:",any"`
	} `xml:"system_data"`
}

const (
	ovalSC    = "http://oval.mitre.org/XMLSchema/oval-system-characteristics-5"
	ovalLinux = ovalSC + "#linux"
)

func readOVAL(t *testing.T, h *host) (ovalDocument, map[string]string) {
	t.Helper()
	o, err := h.OVAL()
	if err != nil {
		t.Fatal(err)
	}
	b, err := xml.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	var doc ovalDocument
	if err := xml.Unmarshal(b, &doc); err != nil {
		t.Fatalf("%v in %s", err, b)
	}
	if len(doc.Data.Items) != 1 {
		t.Fatalf("%s", b)
	}
	fields := map[string]string{}
	for _, c := range doc.Data.Items[0].Children {
		want := ovalLinux
		if c.XMLName.Local == "message" {
			want = ovalSC
		}
		if c.XMLName.Space != want {
			t.Errorf("%s is in %q", c.XMLName.Local, c.XMLName.Space)
		}
		fields[c.XMLName.Local] = c.Text
	}
	return doc, fields
}

func TestOVALHasTheShapeOfItsSchema(t *testing.T) {
	h := newHost(t, plain)
	h.step()
	doc, fields := readOVAL(t, h)
	if doc.XMLName != (xml.Name{Space: ovalSC, Local: "oval_system_characteristics"}) || doc.Generator.Schema != "5.11.1" || !doc.Generator.Timestamp.Equal(h.now) {
		t.Errorf("%+v", doc)
	}
	var info []string
	for _, c := range doc.Info.Children {
		info = append(info, c.XMLName.Local)
		if c.XMLName.Space != ovalSC {
			t.Errorf("%s is in %q", c.XMLName.Local, c.XMLName.Space)
		}
	}
	if got := strings.Join(info, " "); got != "os_name os_version architecture primary_host_name interfaces" {
		t.Errorf("system_info has %s", got)
	}
	item := doc.Data.Items[0]
	if item.XMLName != (xml.Name{Space: ovalLinux, Local: "dpkginfo_item"}) || item.ID != 1 || item.Status != "exists" {
		t.Errorf("%+v", item)
	}
	if fields["name"] != "food" || fields["arch"] != "amd64" || fields["epoch"] != "0" || fields["version"] != "1.0" || fields["evr"] != "0:1.0" {
		t.Errorf("%v", fields)
	}
	for _, c := range item.Children {
		if c.XMLName.Local == "evr" && c.Datatype != "debian_evr_string" {
			t.Errorf("the version is a %q", c.Datatype)
		}
	}
}

// The effective version is that of the worst process, never that of the disk.
func TestOVALVersionIsWhatRunsInMemory(t *testing.T) {
	for _, c := range []struct {
		name, policy, want string
		prepare            func(h *host)
	}{
		{"all patched", plain, "0:1.1", func(*host) {}},
		{"disk fixed, one process busy", plain, "0:1.0", func(h *host) { h.processes[813].busy = true }},
		{"memory only", "disk = \"memory-only\"\n" + plain, "0:1.1", func(*host) {}},
		{"nothing differs in the file", plain, "0:1.1", func(h *host) {
			art := &h.catalog.Releases[1].Artifacts[0]
			art.Bundle, art.Images[0].Same = "", true
		}},
		{"nothing runs", plain, "0:1.1", func(h *host) { clear(h.processes) }},
		{"a process that cannot be read", plain, "0:1.0", func(h *host) { h.processes[813].unreadable = true }},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHost(t, c.policy)
			c.prepare(h)
			h.enrol()
			h.step()
			if _, fields := readOVAL(t, h); fields["evr"] != c.want {
				t.Errorf("%s, want %s: %v", fields["evr"], c.want, fields)
			}
		})
	}
}
