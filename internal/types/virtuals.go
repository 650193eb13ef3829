package types

import (
	"strconv"
	"strings"
)

// virtualFunction is one that a class declares: which slot of its virtual table has it.
type virtualFunction struct {
	name, slot string
	takes      string // what tells it from others of its name, "" where that is not said
}

// virtualTable are the virtual functions that a class declares.
type virtualTable struct {
	text string // by name and slot
	// overloads are those that share their names with others.
	overloads []virtualFunction
}

func virtualTableOf(fs []virtualFunction) *virtualTable {
	if len(fs) == 0 {
		return nil
	}
	var b strings.Builder
	for i := range fs {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(fs[i].name + "@" + fs[i].slot)
	}
	return &virtualTable{b.String(), overloads(fs)}
}

// keyed adds what tells v from others.
func (v *virtualTable) keyed(b []byte) []byte {
	if v == nil {
		return b
	}
	b = append(b, v.text...)
	for i := range v.overloads {
		b = append(append(b, ' '), v.overloads[i].takes...)
	}
	return b
}

// sameNames says that functions of the same names have the same slots.
func (v *virtualTable) sameNames(w *virtualTable) bool {
	if v == nil || w == nil {
		return v == w
	}
	return v.text == w.text
}

// overloads are those of fs that share their names with others.
func overloads(fs []virtualFunction) (out []virtualFunction) {
	count := map[string]int{}
	for i := range fs {
		count[fs[i].name]++
	}
	if len(count) == len(fs) {
		return nil
	}
	for i := range fs {
		if count[fs[i].name] > 1 {
			out = append(out, fs[i])
		}
	}
	return out
}

// changedPlaces is the name of a virtual function that has another slot now, though its
// name has the slots it had; "" when there is none.
func changedPlaces(v, w *virtualTable) string {
	if v == nil || w == nil {
		return ""
	}
	type function struct{ name, takes string }
	slots := map[function]string{}
	for _, f := range v.overloads {
		if f.takes != "" {
			slots[function{f.name, f.takes}] = f.slot
		}
	}
	for _, f := range w.overloads {
		if was, ok := slots[function{f.name, f.takes}]; ok && was != f.slot {
			return f.name
		}
	}
	return ""
}

// takenBy is what a mangled name says of a function besides the names of it and of its
// class, which may get another one: what it takes, and whether it is for a constant
// object. Of a name in which templates or operators come first it is all.
func takenBy(linkage string) string {
	rest, ok := strings.CutPrefix(linkage, "_ZN")
	if !ok {
		return linkage
	}
	params := strings.TrimLeft(rest, "rVKRO")
	of := rest[:len(rest)-len(params)]
	for params != "" && params[0] != 'E' {
		digits := len(params) - len(strings.TrimLeft(params, "0123456789"))
		n, err := strconv.Atoi(params[:digits])
		if err != nil || n > len(params)-digits {
			return linkage
		}
		params = params[digits+n:]
	}
	return of + params
}
