package types_test

import (
	"bytes"
	"debug/dwarf"
	"testing"

	"hotpatch/internal/image"
	"hotpatch/internal/types"
)

// FuzzTypes reads types from damaged debug information: an error or types,
// never a panic or memory without bound.
func FuzzTypes(f *testing.F) {
	for _, flags := range [][]string{{"-gdwarf-5"}, {"-gdwarf-4"}, {"-gdwarf-3", "-gstrict-dwarf"}, typeUnits[0], typeUnits[1]} {
		path := compile(f, `
enum mode { OFF, ON };
struct s { int flag : 3; enum mode mode[4][2]; union { long n; double d; }; char name[]; };
typedef struct { struct s *next; int (*call)(const volatile void *); } node;
node list; int main(void) { return list.next->flag; }
`, flags...)
		f.Add(section(f, path, ".debug_abbrev"), section(f, path, ".debug_info"), section(f, path, ".debug_str"), section(f, path, ".debug_line_str"), section(f, path, ".debug_rnglists"), section(f, path, ".debug_types"))
	}
	f.Fuzz(func(t *testing.T, abbrev, info, str, lineStr, ranges, ofTypes []byte) {
		d, err := dwarf.New(abbrev, nil, nil, info, nil, nil, nil, str)
		if err != nil {
			return
		}
		for name, b := range map[string][]byte{".debug_line_str": lineStr, ".debug_rnglists": ranges} {
			if err := d.AddSection(name, b); err != nil {
				return
			}
		}
		w := &image.DWARF{Data: d}
		if err := w.ReadTypeUnits(bytes.NewReader(info), ofTypes, abbrev, str); err != nil {
			return
		}
		if n, err := types.ReadOne(w); err == nil && n > len(info)+len(ofTypes)+1 {
			t.Errorf("%d types of %d bytes", n, len(info)+len(ofTypes))
		}
	})
}
