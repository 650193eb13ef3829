package cli

import (
	"io"

	"hotpatch/internal/txn"
)

// PrintStatus shows what status shows of one process, as --json, --long or a
// table.
func PrintStatus(w io.Writer, how string, pid int, comm string, hs []txn.State) error {
	cs := []carrier{{PID: pid, Comm: comm, Hotpatches: hs}}
	a := &app{out: w}
	switch how {
	case "json":
		return writeJSON(w, cs)
	case "long":
		return a.printLong(cs)
	}
	return a.printStatus(cs, nil, 0)
}
