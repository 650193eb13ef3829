package cli

import (
	"fmt"
	"io"
	"sort"
	"strings"
	"time"

	"hotpatch/internal/txn"
)

// outcomeCode is the exit code for what happened to the processes of one apply
// or revert. denied counts processes that could not even be examined, though
// somebody with more privilege could: as long as there are any, nobody knows
// that everything was done.
//
//	every process is as asked (at least one)      0
//	some are, others not or unknown               4
//	none is: refused, busy, skipped, none found   3
//	none is, and an error or a death among them   1
func outcomeCode(rs []txn.Result, denied int) int {
	var good, bad, broken int
	for _, r := range rs {
		switch r.Outcome {
		case txn.Applied, txn.Reverted, txn.Already:
			good++
		case txn.Failed, txn.Died:
			bad++
			broken++
		default:
			bad++
		}
	}
	switch {
	case good > 0 && bad == 0 && denied == 0:
		return exitDone
	case good > 0:
		return exitPartly
	case broken > 0:
		return exitFailed
	default:
		return exitRefused
	}
}

// printResult shows how one process fared, in the shape
//
//	refused   redis-server (812): luaD_call is running in thread 815
//	          nothing was changed
func (a *app) printResult(r txn.Result) {
	word := fmt.Sprintf("%-8s", r.Outcome)
	untouched := false
	switch r.Outcome {
	case txn.Applied, txn.Reverted:
		word = a.outStyle.good(word)
	case txn.Already:
		word = a.outStyle.dim(word)
	case txn.Skipped, txn.Busy, txn.Denied:
		word = a.outStyle.warn(word)
		untouched = r.Outcome != txn.Skipped
	default:
		word = a.outStyle.bad(word)
	}
	text := plain(r.Reason)
	if r.Outcome == txn.Applied || r.Outcome == txn.Reverted {
		text = pauseText(r)
		if r.Reason != "" {
			text += "; " + plain(r.Reason)
		}
	}
	comm := plain(r.Comm)
	if comm == "" {
		comm = "pid"
	}
	fmt.Fprintf(a.out, "%s  %s (%d)", word, comm, r.PID)
	if text != "" {
		fmt.Fprintf(a.out, ": %s", text)
	}
	fmt.Fprintln(a.out)
	if len(r.Stack) > 0 {
		const shown = 8
		more := ""
		if len(r.Stack) > shown {
			more = ", ..."
		}
		fmt.Fprintf(a.out, "          stack: %s%s\n", plain(strings.Join(r.Stack[:min(shown, len(r.Stack))], ", ")), more)
	}
	if untouched {
		fmt.Fprintf(a.out, "          nothing was changed\n")
	}
}

func pauseText(r txn.Result) string {
	text := fmt.Sprintf("paused %.2f ms, %s", float64(r.PausedUS)/1000, count(r.Threads, "thread"))
	if r.Attempts > 1 {
		text += fmt.Sprintf(", %s", count(r.Attempts, "attempt"))
	}
	if r.Lingers != "" {
		text += "; a call under way finishes in the old code: " + plain(r.Lingers)
	}
	return text
}

// outcomeHints says what to do about what did not work, each advice once.
func (a *app) outcomeHints(rs []txn.Result, wait time.Duration) {
	var busy, denied, died bool
	for _, r := range rs {
		switch r.Outcome {
		case txn.Busy:
			busy = true
		case txn.Denied, txn.Failed:
			denied = denied || strings.Contains(r.Reason, "not permitted") || strings.Contains(r.Reason, "permission denied")
		case txn.Died:
			died = true
		}
	}
	if busy {
		longer := 30 * time.Second
		if wait >= longer {
			longer = 4 * wait
		}
		a.hint(fmt.Sprintf("retry with --wait %s, or when the program is less busy", shortDuration(longer)))
	}
	if denied {
		a.hint("run it as root, or as the user of the process where kernel.yama.ptrace_scope allows it")
	}
	if died {
		a.hint("see the program's own log for why it ended; it loads the fixed file at its next start if that is installed")
	}
}

// shortDuration is 30s or 2m, not 2m0s.
func shortDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// printDenied tells how many processes could not be examined, and why.
func (a *app) printDenied(denied map[int]error) {
	if len(denied) == 0 {
		return
	}
	byWhy := map[string][]int{}
	for pid, err := range denied {
		why := plain(strings.ReplaceAll(err.Error(), fmt.Sprintf("/proc/%d/", pid), "/proc/PID/"))
		why = strings.ReplaceAll(why, fmt.Sprintf("process %d", pid), "process")
		byWhy[why] = append(byWhy[why], pid)
	}
	whys := make([]string, 0, len(byWhy))
	for why := range byWhy {
		whys = append(whys, why)
	}
	sort.Strings(whys)
	fmt.Fprintf(a.err, "%s %s could not be examined:\n", a.errStyle.warn("warning:"), count(len(denied), "process"))
	for i, why := range whys {
		if i == shownReasons {
			fmt.Fprintf(a.err, "  and %s more\n", count(len(whys)-shownReasons, "reason"))
			break
		}
		pids := byWhy[why]
		sort.Ints(pids)
		fmt.Fprintf(a.err, "  %s (%s)\n", why, pidList(pids))
	}
}

// pidList is "pid 12" or "pids 12, 13 and 7 more".
func pidList(pids []int) string {
	const most = 3
	var s []string
	for i, p := range pids {
		if i == most {
			return fmt.Sprintf("pids %s and %d more", strings.Join(s, ", "), len(pids)-most)
		}
		s = append(s, fmt.Sprint(p))
	}
	if len(s) == 1 {
		return "pid " + s[0]
	}
	return "pids " + strings.Join(s, ", ")
}

// table writes rows in columns; the last column is not padded.
func table(w io.Writer, rows [][]string) {
	var width []int
	for _, row := range rows {
		for i, cell := range row {
			if i == len(width) {
				width = append(width, 0)
			}
			width[i] = max(width[i], len([]rune(cell)))
		}
	}
	for _, row := range rows {
		for i, cell := range row {
			if i == len(row)-1 {
				fmt.Fprintln(w, cell)
			} else {
				fmt.Fprintf(w, "%s%s", cell, strings.Repeat(" ", width[i]-len([]rune(cell))+2))
			}
		}
	}
}
