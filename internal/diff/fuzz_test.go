package diff_test

import (
	"debug/dwarf"
	"debug/elf"
	"testing"

	"hotpatch/internal/diff"
	"hotpatch/internal/image"
)

// FuzzTypes reads types from damaged debug information: an error or types,
// never a panic or memory without bound.
func FuzzTypes(f *testing.F) {
	for _, flags := range [][]string{{"-gdwarf-5"}, {"-gdwarf-4"}, {"-gdwarf-3", "-gstrict-dwarf"}} {
		path := compile(f, `
enum mode { OFF, ON };
struct s { int flag : 3; enum mode mode[4][2]; union { long n; double d; }; char name[]; };
typedef struct { struct s *next; int (*call)(const volatile void *); } node;
node list; int main(void) { return list.next->flag; }
`, flags...)
		file, err := elf.Open(path)
		if err != nil {
			f.Fatal(err)
		}
		section := func(name string) []byte {
			s := file.Section(name)
			if s == nil {
				return nil
			}
			b, err := s.Data()
			if err != nil {
				f.Fatal(err)
			}
			return b
		}
		f.Add(section(".debug_abbrev"), section(".debug_info"), section(".debug_str"), section(".debug_line_str"), section(".debug_rnglists"))
		file.Close()
	}
	f.Fuzz(func(t *testing.T, abbrev, info, str, lineStr, ranges []byte) {
		d, err := dwarf.New(abbrev, nil, nil, info, nil, nil, nil, str)
		if err != nil {
			return
		}
		for name, b := range map[string][]byte{".debug_line_str": lineStr, ".debug_rnglists": ranges} {
			if err := d.AddSection(name, b); err != nil {
				return
			}
		}
		if n, err := diff.ReadTypes(&image.DWARF{Data: d}); err == nil && n > len(info)+1 {
			t.Errorf("%d types of %d bytes", n, len(info))
		}
	})
}
