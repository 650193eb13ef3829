package deb

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// Choice is one package in one version. Arch is needed only for a package that
// is installed for several.
type Choice struct {
	Package string `json:"package"`
	Arch    string `json:"arch,omitempty"`
	Version string `json:"version"`
}

func (c Choice) String() string { return c.arg() }

// arg is how apt wants it. "all" is no architecture one can ask for.
func (c Choice) arg() string {
	if c.Arch == "" || c.Arch == "all" {
		return c.Package + "=" + c.Version
	}
	return c.Package + ":" + c.Arch + "=" + c.Version
}

func (c Choice) check() error {
	if !packageName().MatchString(c.Package) {
		return fmt.Errorf("bad package name %.80q", c.Package)
	}
	if c.Arch != "" && !packageName().MatchString(c.Arch) {
		return fmt.Errorf("package %s: bad architecture %.40q", c.Package, c.Arch)
	}
	if _, err := parseVersion(c.Version); err != nil {
		return fmt.Errorf("package %s: %w", c.Package, err)
	}
	return nil
}

// Change is what happens to one package.
type Change struct {
	Package string `json:"package"`
	Arch    string `json:"arch"`
	From    string `json:"from,omitempty"` // "": it is not installed yet
	To      string `json:"to,omitempty"`   // "": it is removed
}

// Reason codes of a Reason.
const (
	ReasonRemoves    = "removes"       // a package would go
	ReasonBeyond     = "beyond-chosen" // another installed package would change
	ReasonHeld       = "held"
	ReasonMissing    = "not-installed" // updates are for what is there
	ReasonDowngrade  = "downgrade"
	ReasonUnsolvable = "unsolvable" // apt finds no way; its words are in Detail
	ReasonSpace      = "no-space"
	ReasonUnclean    = "unfinished" // dpkg was interrupted: Repair comes first
)

// Reason is one thing that speaks against a plan.
type Reason struct {
	Code    string `json:"code"`
	Package string `json:"package,omitempty"`
	Detail  string `json:"detail"`
}

// RefusedError is a plan that is not carried out. Nothing was changed.
type RefusedError struct{ Reasons []Reason }

func (e *RefusedError) Error() string {
	var b strings.Builder
	b.WriteString("refused: ")
	for i, r := range e.Reasons {
		if i == 4 {
			fmt.Fprintf(&b, "; and %d more", len(e.Reasons)-i)
			break
		}
		if i > 0 {
			b.WriteString("; ")
		}
		b.WriteString(r.Detail)
	}
	return b.String()
}

// Has says whether a reason of that code is among them.
func (e *RefusedError) Has(code string) bool {
	return slices.ContainsFunc(e.Reasons, func(r Reason) bool { return r.Code == code })
}

// Plan is what an installation would do. It changes nothing.
type Plan struct {
	Chosen   []Choice `json:"chosen"`
	Changes  []Change `json:"changes"`  // in the order in which apt unpacks
	Added    []string `json:"added"`    // of them, new packages that the chosen ones need
	Along    []string `json:"along"`    // of them, others of the same source that the chosen ones need
	Download int64    `json:"download"` // bytes of .deb, of which some may be here already
	Grow     int64    `json:"grow"`     // bytes more on disk afterwards, as the packages say
	Refused  []Reason `json:"refused"`  // empty: it can be carried out

	request []Choice // what apt is asked for: Chosen, and what has to go along
	files   []record
}

// PlanOptions say how far a plan may go.
type PlanOptions struct {
	Downgrade bool // take back an update
	// Exact refuses even what goes along: other installed packages of the same
	// source, to the same source version, where the chosen ones depend on it.
	// An update of Debian is one of a source; its packages are built and tested
	// together.
	Exact bool
}

// Plan simulates the installation of exactly these versions.
func (s System) Plan(ctx context.Context, chosen []Choice, o PlanOptions) (Plan, error) {
	p := Plan{Chosen: slices.Clone(chosen), Changes: []Change{}, Added: []string{}, Along: []string{}, Refused: []Reason{}}
	if len(chosen) == 0 {
		return p, errors.New("plan installation: nothing chosen")
	}
	for _, c := range chosen {
		if err := c.check(); err != nil {
			return p, fmt.Errorf("plan installation: %w", err)
		}
	}
	cond, err := s.Dpkg().Condition()
	if err != nil {
		return p, fmt.Errorf("plan installation: %w", err)
	}
	if !cond.Clean() {
		p.Refused = append(p.Refused, unclean(cond)...)
		return p, nil // apt would say no more than this
	}
	have, err := s.Dpkg().Status()
	if err != nil {
		return p, fmt.Errorf("plan installation: %w", err)
	}
	p.judgeChosen(have, o)
	p.request = p.Chosen
	rs, err := s.solve(ctx, &p, have, o)
	if err == nil && len(p.Refused) > 0 && !o.Exact {
		// apt takes the newest of what goes along, which may be too new.
		rs, err = s.solveTogether(ctx, &p, rs, have, o)
	}
	if err == nil && len(p.Refused) == 0 {
		err = s.weigh(&p, have, rs)
	}
	if err != nil {
		return p, fmt.Errorf("plan installation: %w", err)
	}
	return p, nil
}

// solve lets apt find a way and judges it.
func (s System) solve(ctx context.Context, p *Plan, have []Installed, o PlanOptions) ([]record, error) {
	if err := s.simulate(ctx, p, o); err != nil {
		return nil, err
	}
	rs, err := s.lookUp(ctx, p)
	if err != nil {
		return nil, err
	}
	p.judgeChanges(have, rs, o)
	return rs, nil
}

// solveTogether asks for the chosen packages together with the other installed
// ones of their sources, in the same version. p stays as it is when that is no
// way either.
func (s System) solveTogether(ctx context.Context, p *Plan, rs []record, have []Installed, o PlanOptions) ([]record, error) {
	var more []Choice
	for _, c := range p.Chosen {
		chosen, ok := find(have, c)
		if !ok {
			continue
		}
		for _, i := range have {
			x := Choice{i.Package, i.Arch, c.Version}
			if i.Source == chosen.Source && i.Version == chosen.Version && !i.Held && p.chosenAs(Change{Package: i.Package, Arch: i.Arch}) < 0 && !slices.Contains(more, x) {
				more = append(more, x)
			}
		}
	}
	known, err := s.records(ctx, more)
	if err != nil {
		return nil, err
	}
	more = slices.DeleteFunc(more, func(c Choice) bool {
		_, ok := recordOf(known, Change{Package: c.Package, Arch: c.Arch, To: c.Version})
		return !ok
	})
	if len(more) == 0 {
		return rs, nil
	}
	q := Plan{Chosen: p.Chosen, Changes: []Change{}, Added: []string{}, Along: []string{}, Refused: []Reason{}}
	q.request = append(slices.Clone(p.Chosen), more...)
	q.judgeChosen(have, o)
	together, err := s.solve(ctx, &q, have, o)
	if err != nil || len(q.Refused) > 0 {
		return rs, err
	}
	*p = q
	return together, nil
}

// Err is a *RefusedError when something speaks against the plan.
func (p Plan) Err() error {
	if len(p.Refused) == 0 {
		return nil
	}
	return &RefusedError{p.Refused}
}

func (p *Plan) refuse(code, pkg, format string, args ...any) {
	p.Refused = append(p.Refused, Reason{code, pkg, fmt.Sprintf(format, args...)})
}

func unclean(c Condition) []Reason {
	var out []Reason
	if c.Journal {
		out = append(out, Reason{ReasonUnclean, "", "dpkg was interrupted"})
	}
	for _, i := range c.Unfinished {
		out = append(out, Reason{ReasonUnclean, i.Package, fmt.Sprintf("%s %s is %s", i.Package, i.Version, i.State)})
	}
	return out
}

// find is the installed package a choice means.
func find(have []Installed, c Choice) (Installed, bool) {
	for _, i := range have {
		if i.Package == c.Package && (c.Arch == "" || c.Arch == i.Arch || c.Arch == "all" || i.Arch == "all") {
			return i, true
		}
	}
	return Installed{}, false
}

func (p *Plan) judgeChosen(have []Installed, o PlanOptions) {
	for _, c := range p.Chosen {
		i, ok := find(have, c)
		switch {
		case !ok:
			p.refuse(ReasonMissing, c.Package, "%s is not installed", c.Package)
		case i.Held && i.Version != c.Version:
			p.refuse(ReasonHeld, c.Package, "%s is held at %s (apt-mark unhold releases it)", c.Package, i.Version)
		case newer(i.Version, c.Version) && !o.Downgrade:
			p.refuse(ReasonDowngrade, c.Package, "%s %s is older than the installed %s", c.Package, c.Version, i.Version)
		}
	}
}

// installArgs are those of the simulation and of the real thing alike.
func (s System) installArgs(request []Choice, o PlanOptions) []string {
	args := append(s.aptArgs(), "-y", "--no-install-recommends", "-o", "APT::Get::AutomaticRemove=false",
		"-o", "APT::Install-Suggests=false")
	if o.Downgrade {
		args = append(args, "--allow-downgrades")
	}
	args = append(args, "install", "--")
	for _, c := range request {
		args = append(args, c.arg())
	}
	return args
}

func (s System) simulate(ctx context.Context, p *Plan, o PlanOptions) error {
	// Holds are judged by us, in words of ours.
	args := append([]string{"-s", "--allow-change-held-packages"}, s.installArgs(p.request, o)...)
	text, err := s.ask(ctx, "apt-get", args...)
	p.Changes = parseSimulation(text)
	switch {
	case err == nil, ctx.Err() != nil, errors.Is(err, ErrNoApt):
		return err
	case errors.Is(err, ErrNotListed):
		p.refuse(ReasonUnsolvable, "", "%s: %v", join(p.Chosen), err)
	default:
		p.refuse(ReasonUnsolvable, "", "%s", unmet(text, err))
	}
	return nil
}

func join(cs []Choice) string {
	var names []string
	for _, c := range cs {
		names = append(names, c.arg())
	}
	return strings.Join(names, " ")
}

// unmet is apt's explanation, in one line.
func unmet(text string, err error) string {
	_, after, ok := strings.Cut(text, "The following packages have unmet dependencies:\n")
	if !ok {
		return err.Error()
	}
	var out []string
	for line := range strings.SplitSeq(after, "\n") {
		if !strings.HasPrefix(line, " ") || len(out) == 10 {
			break
		}
		out = append(out, strings.Join(strings.Fields(line), " "))
	}
	return strings.Join(out, "; ")
}

// "Inst libssl3 [3.0.19-1] (3.0.22-1 Debian-Security:12/oldstable-security [amd64]) []",
// "Remv nginx [1.22.1-9]". A foreign package is written libssl3:i386.
var simulated = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^(Inst|Remv|Purg) ([a-z0-9][a-z0-9+.-]*)(?::([a-z0-9-]+))?(?: \[([^\]\s]+)\])?(?: \((\S+)(?: [^\[\]()]*)?(?: ?\[([a-z0-9-]+)\])?\))?`)
})

func parseSimulation(text string) []Change {
	var out []Change
	for line := range strings.SplitSeq(text, "\n") {
		m := simulated().FindStringSubmatch(line)
		if m == nil {
			continue
		}
		c := Change{Package: m[2], Arch: cmp.Or(m[3], m[6]), From: m[4], To: m[5]}
		if m[1] != "Inst" {
			c.To = ""
		}
		if len(out) < maxListed {
			out = append(out, c)
		}
	}
	return out
}

// lookUp asks what the lists say of every package that would be unpacked.
func (s System) lookUp(ctx context.Context, p *Plan) ([]record, error) {
	var choices []Choice
	for _, c := range p.Changes {
		if c.To != "" {
			choices = append(choices, Choice{c.Package, c.Arch, c.To})
		}
	}
	return s.records(ctx, choices)
}

// recordOf is what the lists say of the new version of a change.
func recordOf(rs []record, c Change) (record, bool) {
	i := slices.IndexFunc(rs, func(r record) bool {
		return r.pkg == c.Package && r.version == c.To && (r.arch == c.Arch || c.Arch == "" || r.arch == "all")
	})
	if i < 0 {
		return record{}, false
	}
	return rs[i], true
}

// chosenAs is the index of the choice that a change is about, -1 for none.
func (p *Plan) chosenAs(c Change) int {
	return slices.IndexFunc(p.Chosen, func(x Choice) bool {
		return x.Package == c.Package && (x.Arch == "" || x.Arch == c.Arch || x.Arch == "all" || c.Arch == "all")
	})
}

func (p *Plan) judgeChanges(have []Installed, rs []record, o PlanOptions) {
	// The sources of what was chosen, as they will be.
	sources := map[[2]string]bool{}
	for _, c := range p.Changes {
		if i := p.chosenAs(c); i >= 0 && p.Chosen[i].Version == c.To {
			if r, ok := recordOf(rs, c); ok {
				sources[[2]string{r.source, r.sourceVersion}] = true
			}
		}
	}
	reached := map[int]bool{}
	for _, c := range p.Changes {
		i := p.chosenAs(c)
		r, _ := recordOf(rs, c)
		old, installed := find(have, Choice{Package: c.Package, Arch: c.Arch})
		switch {
		case c.To == "":
			p.refuse(ReasonRemoves, c.Package, "%s %s would be removed", c.Package, c.From)
		case i >= 0 && p.Chosen[i].Version == c.To:
			reached[i] = true
		case c.From == "" && i < 0:
			p.Added = append(p.Added, c.Package)
		case i < 0 && !o.Exact && sources[[2]string{r.source, r.sourceVersion}] && installed && !old.Held && (o.Downgrade || newer(c.To, c.From)):
			p.Along = append(p.Along, c.Package)
		default:
			p.refuse(ReasonBeyond, c.Package, "%s would go from %s to %s and was not chosen", c.Package, c.From, c.To)
		}
	}
	if len(p.Refused) > 0 {
		return
	}
	for n, c := range p.Chosen {
		if i, ok := find(have, c); !reached[n] && (!ok || i.Version != c.Version) {
			p.refuse(ReasonUnsolvable, c.Package, "apt would leave %s as it is", c.arg())
		}
	}
}

// weigh adds sizes and digests and looks whether there is room.
func (s System) weigh(p *Plan, have []Installed, rs []record) error {
	var largest int64
	for _, c := range p.Changes {
		r, ok := recordOf(rs, c)
		if !ok || r.sha256 == "" {
			return fmt.Errorf("apt's lists have no digest of %s=%s", c.Package, c.To)
		}
		p.files = append(p.files, r)
		p.Download += r.size
		p.Grow += r.unpacked
		largest = max(largest, r.unpacked)
		if old, ok := find(have, Choice{Package: c.Package, Arch: c.Arch}); ok && c.From != "" {
			p.Grow -= old.Size
		}
	}
	return s.checkSpace(p, largest)
}
