package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"hotpatch/internal/diff"
	"hotpatch/internal/image"
)

// isELF says whether a file is a program or library rather than a hotpatch.
func isELF(path string) bool {
	st, err := os.Stat(path) // opening a pipe would wait for its writer
	if err != nil || !st.Mode().IsRegular() {
		return false
	}
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	var head [4]byte
	_, err = io.ReadFull(f, head[:])
	return err == nil && string(head[:]) == "\x7fELF"
}

// elfJSON is the documented shape of `inspect --json` of a program or library:
// how completely hotpatch reads it.
type elfJSON struct {
	File      string        `json:"file"`
	BuildID   image.BuildID `json:"build_id"`
	Library   bool          `json:"library"`
	PIE       bool          `json:"position_independent"`
	Stripped  bool          `json:"stripped"`
	Functions int           `json:"functions"`  // parts split off are not counted
	Code      codeBytes     `json:"code"`       // of all executable sections
	Unknown   []unknownCode `json:"unknown"`    // by address
	Types     *elfTypes     `json:"types"`      // null: the file has none
	DebugLink string        `json:"debug_link"` // the name of its debug file, where it says so
}

// codeBytes says what the bytes of executable sections are; together they are
// all of them.
type codeBytes struct {
	Functions uint64 `json:"functions"` // bounded by unwind data or a symbol
	PLT       uint64 `json:"plt"`
	Padding   uint64 `json:"padding"`
	Unknown   uint64 `json:"unknown"`
}

func (c codeBytes) all() uint64 { return c.Functions + c.PLT + c.Padding + c.Unknown }

// unknownCode is code that nothing describes.
type unknownCode struct {
	Section string `json:"section"`
	Addr    uint64 `json:"addr"`
	Size    uint64 `json:"size"`
	Name    string `json:"name"` // a symbol, or fn_ and the address; "" when it does not decode
}

// elfTypes says where the types of the file are.
type elfTypes struct {
	Shared        string        `json:"shared"` // its supplementary file (dwz), "" for none
	SharedBuildID image.BuildID `json:"shared_build_id"`
}

func readELF(ctx context.Context, path string) (*elfJSON, error) {
	m, err := image.Open(path)
	if err != nil {
		return nil, err
	}
	v := &elfJSON{
		File: path, BuildID: m.BuildID, Library: m.Library, PIE: m.PIE, Stripped: m.Stripped,
		Unknown: []unknownCode{}, DebugLink: m.DebugLink(),
	}
	for _, f := range m.Funcs {
		if !f.Fragment && f.Source != image.FromGap {
			v.Functions++
		}
	}
	code, err := diff.Decode(ctx, m)
	if err != nil {
		return nil, err
	}
	for _, s := range code.Account() {
		size := uint64(s.Hi - s.Lo)
		switch s.Use {
		case diff.Function:
			v.Code.Functions += size
		case diff.Linkage:
			v.Code.PLT += size
		case diff.Padding:
			v.Code.Padding += size
		default:
			v.Code.Unknown += size
			u := unknownCode{Addr: uint64(s.Lo), Size: size}
			if section := m.SectionAt(s.Lo); section != nil {
				u.Section = section.Name
			}
			if s.Func != nil {
				u.Name = s.Func.Name()
			}
			v.Unknown = append(v.Unknown, u)
		}
	}
	if m.HasDWARF() {
		v.Types = &elfTypes{}
		link, err := m.SharedLink()
		if err != nil {
			return nil, err
		}
		if link != nil {
			v.Types.Shared, v.Types.SharedBuildID = link.Path, link.BuildID
		}
	}
	return v, nil
}

func (a *app) inspectELF(ctx context.Context, path string, asJSON bool) error {
	v, err := readELF(ctx, path)
	if errors.Is(err, image.ErrNoBuildID) {
		return fmt.Errorf("%w, so nothing could tell whether a process runs it", err)
	}
	if err != nil {
		return err
	}
	if asJSON {
		return writeJSON(a.out, v)
	}
	_, err = io.WriteString(a.out, elfText(v))
	return err
}

// elfText is what inspect says of a program or library.
func elfText(v *elfJSON) string {
	var w strings.Builder
	row := func(name, value string) { fmt.Fprintf(&w, "%-11s %s\n", name, value) }
	kind := "program"
	if v.Library {
		kind = "library"
	}
	if !v.PIE {
		kind += ", linked to a fixed address: hotpatch build refuses it"
	}
	row("file", plain(v.File))
	row("build-id", string(v.BuildID))
	row("kind", kind)
	names := "with symbols"
	if v.Stripped {
		names = "stripped"
	}
	row("functions", fmt.Sprintf("%d, %s", v.Functions, names))
	row("types", typesText(v))
	row("code", bytesText(int64(v.Code.all())))
	for _, part := range []struct {
		name string
		size uint64
	}{{"functions", v.Code.Functions}, {"PLT", v.Code.PLT}, {"padding", v.Code.Padding}, {"unknown", v.Code.Unknown}} {
		fmt.Fprintf(&w, "  %-9s %s %9d bytes\n", part.name, share(part.size, v.Code.all()), part.size)
	}
	for i, u := range v.Unknown {
		if i == shownFunctions {
			fmt.Fprintf(&w, "    and %d more\n", len(v.Unknown)-i)
			break
		}
		fmt.Fprintf(&w, "    %#x  %5d bytes in %s  %s\n", u.Addr, u.Size, plain(u.Section), plain(u.Name))
	}
	return w.String()
}

func typesText(v *elfJSON) string {
	switch {
	case v.Types != nil && v.Types.Shared != "":
		return fmt.Sprintf("in the file, partly in %s (build-id %s)", plain(v.Types.Shared), v.Types.SharedBuildID)
	case v.Types != nil:
		return "in the file"
	case v.DebugLink != "":
		return "not in the file; its debug file is called " + plain(v.DebugLink)
	}
	return "none in the file"
}

// share is a share with one decimal, and never 0.0 or 100.0 of what is not
// quite that.
func share(part, all uint64) string {
	if all == 0 {
		return "   -  "
	}
	p := 100 * float64(part) / float64(all)
	switch {
	case part > 0 && p < 0.05:
		return "< 0.1 %"
	case part < all && p > 99.95:
		return "> 99.9 %"
	}
	return fmt.Sprintf("%5.1f %%", p)
}
