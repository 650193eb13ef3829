package cli

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"hotpatch/internal/catalog"
	"hotpatch/internal/repo"
)

func (a *app) repoCalendarCmd(f *repoFlags) *cobra.Command {
	var channel, html, ical string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "calendar",
		Short: "Show the release calendar, as a table, page, JSON or iCalendar",
		Long: `calendar shows what was published in a channel and what is planned for the next
twelve months: month, update, type, day, build and article. Unplanned baselines
are marked with !, planned rows with ~.`,
		Example: `  hotpatch repo calendar
  hotpatch repo calendar --html public/calendar.html --ical public/calendar.ics`,
		Args: cobra.NoArgs,
	}
	cmd.Flags().StringVar(&channel, "channel", "", "of this channel (default: the last)")
	cmd.Flags().StringVar(&html, "html", "", "write one self-contained page to `FILE`")
	cmd.Flags().StringVar(&ical, "ical", "", "write iCalendar (RFC 5545) to `FILE`")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print as JSON")
	cmd.RunE = a.verb(func(context.Context, []string) error {
		r, err := f.open()
		if err != nil {
			return err
		}
		defer r.Close()
		if channel == "" && len(r.Channels()) > 0 {
			channel = r.Channels()[len(r.Channels())-1]
		}
		k, err := r.Catalog(channel)
		if err != nil {
			return err
		}
		now := time.Now()
		for _, o := range []struct {
			file  string
			write func(io.Writer, *catalog.Catalog, time.Time) error
		}{{html, repo.WriteHTML}, {ical, repo.WriteICal}} {
			if o.file == "" {
				continue
			}
			var b bytes.Buffer
			if err := o.write(&b, k, now); err != nil {
				return err
			}
			if err := os.WriteFile(o.file, b.Bytes(), 0o644); err != nil {
				return fmt.Errorf("write calendar: %w", err)
			}
			fmt.Fprintf(a.err, "the calendar is in %s\n", o.file)
		}
		switch {
		case asJSON:
			return writeJSON(a.out, calendarView(k, now))
		case html == "" && ical == "":
			a.printCalendar(k, now)
		}
		return nil
	})
	return cmd
}

// calendarJSON is the documented shape of `repo calendar --json`.
type calendarJSON struct {
	Name    string          `json:"name"`
	Channel string          `json:"channel"`
	Cadence catalog.Cadence `json:"cadence"`
	Rows    []catalog.Row   `json:"rows"`
}

func calendarView(k *catalog.Catalog, now time.Time) calendarJSON {
	return calendarJSON{k.Calendar.Name, k.Channel, k.Calendar.Cadence, nonNil(repo.Schedule(k, now))}
}

func (a *app) printCalendar(k *catalog.Catalog, now time.Time) {
	rows := repo.Schedule(k, now)
	if len(rows) == 0 {
		fmt.Fprintf(a.out, "nothing was published in %s yet\n", k.Channel)
		return
	}
	fmt.Fprintln(a.out, a.outStyle.bold(fmt.Sprintf("  %-8s %-28s %-4s %-10s  %-14s %s", "month", "update", "type", "available", "build", "article")))
	for _, w := range rows {
		mark := " "
		switch {
		case w.Planned:
			mark = "~"
		case w.Type == catalog.TypeUnplanned:
			mark = "!"
		}
		line := fmt.Sprintf("%s %-8s %-28s %-4s %-10s  %-14s %s", mark, w.Month, plain(w.Update), string(w.Type),
			w.Available.UTC().Format(time.DateOnly), plain(w.Build), plain(w.Article))
		if w.Planned {
			line = a.outStyle.dim(line)
		}
		fmt.Fprintln(a.out, line)
		if w.Replaces != "" {
			fmt.Fprintf(a.out, "           takes the place of %s\n", plain(w.Replaces))
		}
	}
}
