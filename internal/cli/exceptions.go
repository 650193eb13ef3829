package cli

import (
	"fmt"

	"hotpatch/internal/image"
	"hotpatch/internal/patch"
)

// exceptionsText says how the code that an image brings takes part in
// exceptions; "" when none has to pass it.
func exceptionsText(m *patch.Image, o *patch.Object) string {
	if !m.Unwinds {
		return ""
	}
	functions, handlers := unwindCounts(o)
	does := "none of them handles any"
	if handlers > 0 {
		does = fmt.Sprintf("%d of them handle or clean up after them", handlers)
	}
	return fmt.Sprintf("may pass the new code (%s, %s); apply tells the unwinder of each process, or refuses", count(functions, "function"), does)
}

// unwindCounts counts the pieces of code that the carried unwind data
// describes, and those with a table of what they do with exceptions.
func unwindCounts(o *patch.Object) (functions, handlers int) {
	c := o.ChunkAt(o.EHFrame)
	if c == nil || c.Kind != patch.Unwind {
		return 0, 0
	}
	fdes, err := image.FDEs(c.Data, image.Addr(c.Addr))
	if err != nil {
		return 0, 0 // apply says what is wrong with it
	}
	for i := range fdes {
		if fdes[i].LSDA != 0 {
			handlers++
		}
	}
	return len(fdes), handlers
}
