package build

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"

	"hotpatch/internal/deb"
	"hotpatch/internal/patch"
)

// Packages of one source are built to go together: what one library promises
// another may change in a fix, without any sign in either file. (libevent
// 2.1.12-stable-8+deb12u1 looks at what a function of libevent_core returns
// that returned nothing before.) The distribution says so by a dependency on
// the very version; a hotpatch is for one package and can only tell.

// siblings are the packages of the same source that fixed wants in its own
// version, where base did not.
func siblings(base, fixed *deb.Package) []string {
	old := versionsWanted(base.Depends)
	var out []string
	for name, v := range versionsWanted(fixed.Depends) {
		if (v == fixed.Version || v == fixed.SourceVersion) && old[name] != v && name != fixed.Name {
			out = append(out, name+" "+v)
		}
	}
	slices.Sort(out)
	return out
}

var dependency = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^\s*([a-z0-9][a-z0-9+.-]+)(?::[a-z0-9]+)?\s*\(\s*>?=\s*([^\s)]+)\s*\)`)
})

// versionsWanted are the versions that a field Depends wants at least or
// exactly, by package.
func versionsWanted(depends string) map[string]string {
	out := map[string]string{}
	for d := range strings.SplitSeq(depends, ",") {
		if m := dependency().FindStringSubmatch(d); m != nil {
			out[m[1]] = m[2]
		}
	}
	return out
}

// together are those that matter: where the package brings a library or
// plugin, whose code others call, or the other one does, by its name.
func together(in *inputs, results []*result) []string {
	if in.packages[0] == nil {
		return nil
	}
	library := slices.ContainsFunc(results, func(r *result) bool { return r.object != nil && r.links.library })
	var out []string
	for _, s := range siblings(in.packages[0], in.packages[1]) {
		if library || strings.HasPrefix(s, "lib") || strings.Contains(s, "-libs ") {
			out = append(out, s)
		}
	}
	return out
}

func togetherReasons(names []string) []patch.Reason {
	var out []patch.Reason
	for _, n := range names {
		out = append(out, patch.Reason{Code: goesWith, Detail: fmt.Sprintf("the fixed package goes with %s only: its code may rely on what changed there", n)})
	}
	return out
}
