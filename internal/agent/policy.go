package agent

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"

	"hotpatch/internal/catalog"
	"hotpatch/internal/window"
)

// Policy is what the owner of this host decided: /etc/hotpatch/policy.toml.
// Nothing in it is guessed; what is not there has the value named here.
type Policy struct {
	Repository string            `toml:"repository"` // https:// or file:// address, or a directory
	Channel    string            `toml:"channel"`    // "stable" when empty
	Labels     map[string]string `toml:"labels"`
	Ring       int               `toml:"ring"` // releases in an earlier ring than this are not for this host; 0: every ring is
	Assess     Assess            `toml:"assess"`
	Hotpatches string            `toml:"hotpatches"` // "at-once" when empty, or "in-window"
	Disk       string            `toml:"disk"`       // "disk-first" when empty, or "memory-only"
	Exclude    []string          `toml:"exclude"`    // packages that are left alone
	Outside    []string          `toml:"outside"`    // releases outside the program that are approved here
	PerItem    Length            `toml:"per_item"`   // what one package or process takes; 1m
	Soak       Length            `toml:"soak"`       // how long what was patched is watched; 10m
	Wait       Length            `toml:"wait"`       // how long a busy process is waited for; 30s
	Reboot     bool              `toml:"reboot"`     // whether a restart of the host itself may be made, inside a window
	Windows    []Window          `toml:"window"`
	Hooks      Hooks             `toml:"hooks"`
	Metrics    Metrics           `toml:"metrics"`

	rules catalog.Policy
	text  string
}

// Assess is how often the host is looked at.
type Assess struct {
	Every  Length `toml:"every"`  // 1h
	Jitter Length `toml:"jitter"` // at most this much longer, at random; a tenth of every
}

// Window is one maintenance window, as window.Spec.
type Window struct {
	Name   string   `toml:"name"`
	Rule   string   `toml:"rule"` // RFC 5545: FREQ=MONTHLY;BYDAY=2SU
	From   string   `toml:"from"` // first day
	At     string   `toml:"at"`   // 02:30
	For    string   `toml:"for"`  // 4h
	In     string   `toml:"in"`   // Europe/Berlin
	Except []string `toml:"except"`
	Extra  []string `toml:"extra"`
}

// Hooks are commands, run by /bin/sh, before and after a run.
type Hooks struct {
	Pre     string `toml:"pre"`
	Post    string `toml:"post"`
	Timeout Length `toml:"timeout"` // 5m
	Go      bool   `toml:"go_on"`   // whether a failing pre-hook lets the run go on, with a warning
}

// Metrics is where Prometheus may read.
type Metrics struct {
	Listen string `toml:"listen"` // 127.0.0.1:9577; empty: only the socket
}

// Length is a duration, written "90s" or "1h30m".
type Length time.Duration

// UnmarshalText reads it.
func (l *Length) UnmarshalText(b []byte) error {
	d, err := time.ParseDuration(string(b))
	if err != nil || d < 0 || d > 366*24*time.Hour {
		return fmt.Errorf("%.40q is no length of time such as 90s or 1h30m", b)
	}
	*l = Length(d)
	return nil
}

// maxRing is more rings than anybody has.
const maxRing = 1000

// maxPolicy is far more than anybody writes by hand.
const maxPolicy = 1 << 20

// ReadPolicy reads a policy file.
func ReadPolicy(file string) (*Policy, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("read policy: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxPolicy+1))
	if err != nil {
		return nil, fmt.Errorf("read policy %s: %w", file, err)
	}
	if len(b) > maxPolicy {
		return nil, fmt.Errorf("read policy %s: larger than %d bytes", file, maxPolicy)
	}
	p, err := ParsePolicy(b)
	if err != nil {
		return nil, fmt.Errorf("read policy %s: %w", file, err)
	}
	return p, nil
}

// ParsePolicy reads the text of a policy. Errors name the line or the field;
// what it does not know is an error, so that a misspelt word is not silence.
func ParsePolicy(text []byte) (*Policy, error) {
	var p Policy
	d := toml.NewDecoder(bytes.NewReader(text)).DisallowUnknownFields()
	if err := d.Decode(&p); err != nil {
		var strict *toml.StrictMissingError
		if errors.As(err, &strict) && len(strict.Errors) > 0 {
			e := strict.Errors[0]
			line, _ := e.Position()
			return nil, fmt.Errorf("line %d: there is no field %q", line, strings.Join(e.Key(), "."))
		}
		var de *toml.DecodeError
		if errors.As(err, &de) {
			line, column := de.Position()
			return nil, fmt.Errorf("line %d, column %d: %s", line, column, strings.TrimPrefix(de.Error(), "toml: "))
		}
		return nil, err
	}
	if err := p.settle(); err != nil {
		return nil, err
	}
	p.text = string(text)
	return &p, nil
}

// settle puts in what was left out, and checks the rest.
func (p *Policy) settle() error {
	or := func(l *Length, d time.Duration) {
		if *l == 0 {
			*l = Length(d)
		}
	}
	or(&p.Assess.Every, time.Hour)
	or(&p.Assess.Jitter, time.Duration(p.Assess.Every)/10)
	or(&p.PerItem, time.Minute)
	or(&p.Soak, 10*time.Minute)
	or(&p.Wait, 30*time.Second)
	or(&p.Hooks.Timeout, 5*time.Minute)
	if p.Channel == "" {
		p.Channel = "stable"
	}
	if p.Repository == "" {
		return errors.New("repository: not given; it is an address such as https://repo.example/debian, or a directory")
	}
	if err := checkAddress(p.Repository); err != nil {
		return fmt.Errorf("repository: %w", err)
	}
	if time.Duration(p.Assess.Every) < time.Second {
		return fmt.Errorf("assess.every: %s is less than a second", time.Duration(p.Assess.Every))
	}
	if p.Metrics.Listen != "" {
		if _, _, err := net.SplitHostPort(p.Metrics.Listen); err != nil {
			return fmt.Errorf("metrics.listen: %w", err)
		}
	}
	return p.settleRules()
}

func checkAddress(s string) error {
	if filepath.IsAbs(s) {
		return nil
	}
	u, err := url.Parse(s)
	if err != nil {
		return err
	}
	switch u.Scheme {
	case "https", "http", "file":
		return nil
	}
	return fmt.Errorf("%.80q is neither an https, http or file address nor an absolute path", s)
}

func (p *Policy) settleRules() error {
	if p.Ring < 0 || p.Ring > maxRing {
		return fmt.Errorf("ring: %d is not a number from 0 to %d", p.Ring, maxRing)
	}
	r := catalog.Policy{Ring: p.Ring, Exclude: p.Exclude, PerItem: catalog.Duration(p.PerItem)}
	switch p.Hotpatches {
	case "", string(catalog.AtOnce):
		r.Hotpatches = catalog.AtOnce
	case string(catalog.InWindow):
		r.Hotpatches = catalog.InWindow
	default:
		return fmt.Errorf("hotpatches: %.40q is neither %q nor %q", p.Hotpatches, catalog.AtOnce, catalog.InWindow)
	}
	switch p.Disk {
	case "", string(catalog.DiskFirst):
		r.Disk = catalog.DiskFirst
	case string(catalog.MemoryOnly):
		r.Disk = catalog.MemoryOnly
	default:
		return fmt.Errorf("disk: %.40q is neither %q nor %q", p.Disk, catalog.DiskFirst, catalog.MemoryOnly)
	}
	if len(p.Windows) == 0 && r.Hotpatches == catalog.InWindow {
		return errors.New("hotpatches: \"in-window\", but there is no [[window]]: nothing would ever be applied")
	}
	for _, o := range p.Outside {
		r.Outside = append(r.Outside, catalog.ReleaseID(o))
	}
	for _, w := range p.Windows {
		built, err := window.New(window.Spec{Name: w.Name, Rule: w.Rule, From: w.From, At: w.At, For: w.For, In: w.In, Except: w.Except, Extra: w.Extra})
		if err != nil {
			return err
		}
		r.Windows = append(r.Windows, built)
	}
	p.rules = r
	return nil
}

// Rules is the part of the policy that the catalogue decides by.
func (p *Policy) Rules() catalog.Policy { return p.rules }
