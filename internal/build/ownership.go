package build

import (
	"fmt"
)

// brackets: what old code has taken, new code gives back, and the other way round.
func (j *judge) brackets() {
	if j.r.has(otherCompiler) || j.r.has(rebuiltCompiler) {
		return // other code inlines other calls
	}
	for _, b := range j.d.Brackets() {
		takes, took, gives, back := "takes", "takes it", "gives back", "gives it back"
		if b.Counts {
			takes, took, gives, back = "counts up", "counts it up", "counts down", "counts it down"
		}
		giver := label(j.d, b.Giver)
		var text string
		switch {
		case b.GivesLess && b.TakesLess:
			text = fmt.Sprintf("it %s %s less often than before, and %s %s less often", gives, b.What, giver, took)
		case b.GivesLess:
			text = fmt.Sprintf("it %s %s less often than before, and %s does so more often", gives, b.What, giver)
		case b.TakesLess:
			text = fmt.Sprintf("it %s %s more often than before, and %s does so less often", takes, b.What, giver)
		default:
			text = fmt.Sprintf("it %s %s more often than before, and %s %s more often", takes, b.What, giver, back)
		}
		j.r.add(pairingMoved, label(j.d, b.Taker), "%s", text)
	}
}

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
