package build

import (
	"fmt"
)

// ownership: objects that old code filled are freed by new code.
func (j *judge) ownership() {
	for _, h := range j.d.Handovers() {
		what, there := fmt.Sprintf("what is at offset %#x of an object", h.Place.Offset), "at that offset"
		if v := h.Place.Variable; v != 0 {
			what, there = "what the variable "+j.d.BaseVariableName(v)+" points to", "in it"
		}
		if h.Freed != nil {
			j.r.add(ownershipMoved, label(j.d, h.Frees), "it frees (%s) %s; before, %s did", h.Callee, what, label(j.d, h.Freed))
			continue
		}
		j.r.add(ownershipMoved, label(j.d, h.Frees), "it frees (%s) %s; what %s stores %s comes from %s now, before from %s",
			h.Callee, what, label(j.d, h.Stores), there, h.Is, h.Was)
	}
}
