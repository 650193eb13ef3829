package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"hotpatch/internal/patch"
)

func (a *app) inspectCmd() *cobra.Command {
	var asJSON, disassemble, gdb, perfMap bool
	var pids []int
	cmd := &cobra.Command{
		Use:   "inspect FILE",
		Short: "Show what is in a hotpatch file, or how completely a program is read",
		Long: `inspect shows a hotpatch file as it is: its id, package, versions, images,
sites, digests and verdict. With --disassemble it prints the code that the
hotpatch carries, with names for what it calls and uses.

With --gdb it prints the commands by which gdb learns where that code is in a
process (of --pid, or every one that carries the hotpatch), so that stacks
through it can be read and breakpoints set. They refer to copies of the objects
below the user's cache directory.

With --perf-map and one --pid it prints the lines of /tmp/perf-PID.map by which
perf names that code.

Of a program or library it says how hotpatch reads it: the bytes of its executable
sections that are functions, PLT, padding or unknown, and whether it has types.
Nothing of unknown code can be replaced; code of the compiler's own start-up files
is usual there.`,
		Example: `  hotpatch inspect redis.hotpatch
  hotpatch inspect redis.hotpatch --json
  hotpatch inspect redis.hotpatch --disassemble | less
  hotpatch inspect redis.hotpatch --gdb --pid 4711 > x.gdb; gdb -p 4711 -x x.gdb
  hotpatch inspect redis.hotpatch --perf-map --pid 4711 >> /tmp/perf-4711.map
  hotpatch inspect /usr/bin/redis-check-rdb`,
		Args: needs("FILE"),
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print everything as JSON")
	cmd.Flags().BoolVar(&disassemble, "disassemble", false, "print the carried code (AT&T syntax)")
	cmd.Flags().BoolVar(&gdb, "gdb", false, "print commands for gdb")
	cmd.Flags().BoolVar(&perfMap, "perf-map", false, "print the lines of a map file for perf")
	pidsFlag(cmd, &pids, "with --gdb: only this `PID` (may be repeated); with --perf-map: of which process")
	cmd.RunE = a.verb(func(ctx context.Context, args []string) error {
		switch {
		case moreThanOne(asJSON, disassemble, gdb, perfMap):
			return usage("inspect: --json, --disassemble, --gdb and --perf-map exclude each other")
		case len(pids) > 0 && !gdb && !perfMap:
			return usage("inspect: --pid is for --gdb and --perf-map")
		}
		pids, err := checkPIDs("inspect", pids)
		if err != nil {
			return err
		}
		if perfMap && len(pids) != 1 {
			return usage("inspect: --perf-map needs one --pid: every process has a map of its own")
		}
		if isELF(args[0]) {
			if disassemble || gdb || perfMap {
				return usage("inspect: %s is a program or library; --disassemble, --gdb and --perf-map are for hotpatch files", args[0])
			}
			return a.inspectELF(ctx, args[0], asJSON)
		}
		b, err := readBundle(args[0])
		if err != nil {
			return err
		}
		if perfMap {
			return a.perfMap(args[0], b, pids[0])
		}
		if gdb {
			return a.gdb(args[0], b, pids)
		}
		v, err := inspect(args[0], b)
		switch {
		case err != nil:
			return err
		case asJSON:
			return writeJSON(a.out, v)
		case disassemble:
			return a.disassemble(b)
		default:
			return a.printInspect(v, b)
		}
	})
	return cmd
}

// inspectJSON is the documented shape of `inspect --json`: the manifest, with
// the id, sizes and acceptance.
type inspectJSON struct {
	ID           patch.ID          `json:"id"`
	Size         int64             `json:"size"` // bytes of the file
	Format       int               `json:"format"`
	Package      string            `json:"package"`
	Source       string            `json:"source"`
	BaseVersion  string            `json:"base_version"`
	FixedVersion string            `json:"fixed_version"`
	Arch         string            `json:"arch"`
	CVEs         []string          `json:"cves"`
	Changes      []string          `json:"changes"`
	Verdict      patch.Verdict     `json:"verdict"`
	Reasons      []patch.Reason    `json:"reasons"`
	Mode         patch.Mode        `json:"mode"`
	Accepted     *patch.Acceptance `json:"accepted"` // null: nobody did
	Applicable   bool              `json:"applicable"`
	Images       []inspectImage    `json:"images"`
	LeftOut      []patch.LeftOut   `json:"left_out"` // images of the package that are not patched
}

type inspectImage struct {
	patch.Image
	Sizes imageSizes `json:"sizes"`
}

// imageSizes are bytes; reserved is address space, of which only what is
// carried is populated.
type imageSizes struct {
	Code      int    `json:"code"`
	Constants int    `json:"constants"`
	Unwind    int    `json:"unwind"`
	Handlers  int    `json:"handlers"` // what functions do with exceptions
	Variables int    `json:"variables"`
	Reserved  uint64 `json:"reserved"`
	Relocs    int    `json:"relocations"` // a number, not bytes
}

func inspect(file string, b *patch.Bundle) (inspectJSON, error) {
	id, err := b.ID()
	if err != nil {
		return inspectJSON{}, fmt.Errorf("identify %s: %w", file, err)
	}
	info, err := os.Stat(file)
	if err != nil {
		return inspectJSON{}, fmt.Errorf("inspect: %w", err)
	}
	m := &b.Manifest
	v := inspectJSON{
		ID: id, Size: info.Size(), Format: m.Format, Package: m.Package, Source: m.Source,
		BaseVersion: m.BaseVersion, FixedVersion: m.FixedVersion, Arch: m.Arch,
		CVEs: nonNil(m.CVEs), Changes: nonNil(m.Changes), Verdict: m.Verdict,
		Reasons: nonNil(m.Reasons), Mode: m.Mode, Accepted: b.Accepted,
		Applicable: b.Applicable() == nil, Images: []inspectImage{}, LeftOut: nonNil(m.LeftOut),
	}
	for i, im := range m.Images {
		im.Sites, im.Functions = nonNil(im.Sites), nonNil(im.Functions)
		x := inspectImage{Image: im}
		if i < len(b.Objects) {
			x.Sizes = sizesOf(b.Objects[i])
		}
		v.Images = append(v.Images, x)
	}
	return v, nil
}

func sizesOf(o *patch.Object) imageSizes {
	s := imageSizes{Reserved: o.RWEnd - o.Lo, Relocs: len(o.Relocs)}
	for _, c := range o.Chunks {
		switch c.Kind {
		case patch.Code:
			s.Code += len(c.Data)
		case patch.Const, patch.Table:
			s.Constants += len(c.Data)
		case patch.Unwind:
			s.Unwind += len(c.Data)
		case patch.Handlers:
			s.Handlers += len(c.Data)
		case patch.Var:
			s.Variables += len(c.Data)
		}
	}
	return s
}

func (a *app) printInspect(v inspectJSON, b *patch.Bundle) error {
	var w strings.Builder
	row := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&w, "%-11s %s\n", name, value)
		}
	}
	row("id", string(v.ID))
	row("package", plain(v.Package))
	row("source", plain(v.Source))
	if v.BaseVersion != "" || v.FixedVersion != "" {
		row("versions", plain(v.BaseVersion+" → "+v.FixedVersion))
	}
	row("arch", plain(v.Arch))
	row("cves", strings.TrimPrefix(fixesText(&b.Manifest), "fixes "))
	row("verdict", string(v.Verdict))
	if v.Accepted != nil {
		row("accepted", fmt.Sprintf("by %s on %s: %s", plain(v.Accepted.By), v.Accepted.At.Format("2006-01-02 15:04 MST"), plain(v.Accepted.Reason)))
	}
	row("mode", string(v.Mode))
	row("size", bytesText(v.Size))
	for i, im := range v.Images {
		fmt.Fprintln(&w)
		a.printImage(&w, im.Path, im.Counts, im.Functions, shownFunctions)
		row("  base", im.BuildIDBase)
		row("  fixed", im.BuildIDFixed)
		row("  object", plain(im.Object)+"  sha256 "+im.Digest)
		s := im.Sizes
		row("  carries", fmt.Sprintf("%d bytes of code, %d of constants, %d of unwind data, %d of variables; %s",
			s.Code, s.Constants, s.Unwind+s.Handlers, s.Variables, count(s.Relocs, "relocation")))
		row("  exceptions", exceptionsText(&im.Image, b.Objects[i]))
		row("  redirects", count(len(im.Sites), "function"))
		for i, site := range im.Sites {
			if i == shownFunctions {
				fmt.Fprintf(&w, "    and %d more\n", len(im.Sites)-shownFunctions)
				break
			}
			fmt.Fprintf(&w, "    %#x → %#x  %s\n", site.Base, site.To, plain(site.Name))
		}
	}
	for _, l := range v.LeftOut {
		fmt.Fprintf(&w, "\n%s  left out: processes that use it are refused\n", plain(l.Path))
		row("  base", l.BuildIDBase)
	}
	if len(v.Reasons) > 0 {
		fmt.Fprintln(&w)
		a.printReasons(&w, v.Reasons)
	}
	_, err := io.WriteString(a.out, w.String())
	return err
}
