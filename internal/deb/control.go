package deb

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"
)

// Policy 5.6.1 and 5.6.7: what a package may be called. Also what keeps a name
// from being taken for an option or a path.
var packageName = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[a-z0-9][a-z0-9+.-]{1,127}$`) })

// parseControl reads a control file: one stanza of fields, deb-control(5).
func parseControl(text []byte) (*Package, error) {
	fields, err := stanza(string(text))
	if err != nil {
		return nil, fmt.Errorf("control file: %w", err)
	}
	p := &Package{
		Name:    fields["package"],
		Version: fields["version"],
		Arch:    fields["architecture"],
		Depends: fields["depends"],
	}
	if !packageName().MatchString(p.Name) {
		return nil, fmt.Errorf("control file: bad package name %q", p.Name)
	}
	if _, err := parseVersion(p.Version); err != nil {
		return nil, fmt.Errorf("control file: %w", err)
	}
	if p.Arch == "" {
		return nil, errors.New("control file: no field Architecture")
	}
	if p.Source, p.SourceVersion, err = parseSource(fields["source"], p.Name, p.Version); err != nil {
		return nil, fmt.Errorf("control file: %w", err)
	}
	return p, nil
}

// stanza reads the first paragraph of deb822 fields, names in lower case,
// continuation lines joined with one space.
func stanza(text string) (map[string]string, error) {
	fields := make(map[string]string)
	last, started := "", false
	n := 0
	for line := range strings.SplitSeq(text, "\n") {
		n++
		line = strings.TrimRight(line, " \t\r")
		switch {
		case line == "":
			if started {
				return fields, nil
			}
		case strings.HasPrefix(line, "#"):
		case line[0] == ' ' || line[0] == '\t':
			if last == "" {
				return nil, fmt.Errorf("line %d: continues no field", n)
			}
			fields[last] += " " + strings.TrimSpace(line)
		default:
			name, value, ok := strings.Cut(line, ":")
			name = strings.ToLower(name)
			if !ok || name == "" || strings.ContainsAny(name, " \t") {
				return nil, fmt.Errorf("line %d: not a field", n)
			}
			if _, twice := fields[name]; twice {
				return nil, fmt.Errorf("line %d: field %s appears twice", n, name)
			}
			fields[name] = strings.TrimSpace(value)
			last, started = name, true
		}
	}
	return fields, nil
}
