package deb

import (
	"context"
	"fmt"
	"io"
	"strings"
)

// For fuzzing and for tables, without files.
var (
	Read         = read
	ParseControl = parseControl
	ParseMadison = parseMadison
	AptError     = aptError
	CleanName    = cleanName
)

// MD5Names are the names in a list of digests.
func MD5Names(r io.Reader) ([]string, error) {
	files, err := parseMD5Sums(r)
	var names []string
	for _, f := range files {
		names = append(names, f.name)
	}
	return names, err
}

// Raise puts a guard up and leaves it, as a killed run does.
func (s System) Raise(ctx context.Context) error {
	if err := s.prepare(); err != nil {
		return err
	}
	_, err := s.raise(ctx)
	return err
}

var (
	ParseSimulation = parseSimulation
	ParseOrigins    = parseOrigins
	ParseJob        = parseJob
	ParseAction     = parseAction
	Matches         = matches
	JudgeKernel     = judgeKernel
)

// PolicyText is what parsePolicy understood.
func PolicyText(text string) string {
	out := ""
	for _, p := range parsePolicy(text) {
		var vs []string
		for _, v := range p.versions {
			vs = append(vs, fmt.Sprint(v.version, " ", v.at))
		}
		out += fmt.Sprintf("%s %s %s %v\n", p.name, p.installed, p.candidate, vs)
	}
	return out
}

// ParseRecords is only asked whether it survives.
func ParseRecords(text string) error { _, err := parseRecords(text); return err }

// ParseDiversions gives from and to.
func ParseDiversions(text string) (map[string]string, error) {
	m, err := parseDiversions(strings.NewReader(text))
	out := map[string]string{}
	for k, v := range m {
		out[k] = v.name
	}
	return out, err
}

// Excluded says what rules make of a name.
func Excluded(rules, name string) bool {
	out := false
	for _, r := range parseRules(rules) {
		if matches(r.pattern, name) {
			out = r.exclude
		}
	}
	return out
}

// ParseList are the names in a file list.
func ParseList(text string) (names []string) {
	_ = parseList(strings.NewReader(text), func(n string) error { names = append(names, n); return nil })
	return names
}
