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
	var channel, html, ical, rootFile string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "calendar [WHERE]",
		Short: "Show the release calendar, as a table, page, JSON or iCalendar",
		Long: `calendar shows what was published in a channel and what is planned for the next
twelve months: month, update, type, day, build and article. Unplanned baselines
are marked with !, planned rows with ~.

WHERE is a repository or mirror to ask instead of --repo: a directory or an
http, https or file URL, verified from the trusted root file (--root).`,
		Example: `  hotpatch repo calendar
  hotpatch repo calendar https://hotpatch.example.org/ --root root.json
  hotpatch repo calendar --html public/calendar.html --ical public/calendar.ics`,
		Args: cobra.MaximumNArgs(1),
	}
	cmd.Flags().StringVar(&rootFile, "root", "", "with WHERE: the trusted root `FILE`")
	cmd.Flags().StringVar(&channel, "channel", "", "of this `CHANNEL` (default: the last)")
	cmd.Flags().StringVar(&html, "html", "", "write one self-contained page to `FILE`")
	cmd.Flags().StringVar(&ical, "ical", "", "write iCalendar (RFC 5545) to `FILE`")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print as JSON")
	cmd.RunE = a.verb(func(ctx context.Context, args []string) error {
		k, err := calendarOf(ctx, f, args, rootFile, channel)
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

// calendarOf is the catalogue of a channel ("": the last), of the repository or
// of one elsewhere.
func calendarOf(ctx context.Context, f *repoFlags, where []string, rootFile, channel string) (*catalog.Catalog, error) {
	if len(where) == 0 {
		r, err := f.open()
		if err != nil {
			return nil, err
		}
		defer r.Close()
		if channel == "" && len(r.Channels()) > 0 {
			channel = r.Channels()[len(r.Channels())-1]
		}
		return r.Catalog(channel)
	}
	root, err := trustedRoot(where[0], rootFile)
	if err != nil {
		return nil, err
	}
	cache, err := os.MkdirTemp("", "hotpatch-calendar-")
	if err != nil {
		return nil, fmt.Errorf("read calendar: %w", err)
	}
	defer os.RemoveAll(cache)
	c, err := repo.Open(where[0], root, cache, time.Now)
	if err != nil {
		return nil, err
	}
	if err := c.Refresh(ctx); err != nil {
		return nil, err
	}
	if channel == "" {
		channels, err := c.Channels()
		if err != nil {
			return nil, err
		}
		if len(channels) > 0 {
			channel = channels[len(channels)-1]
		}
	}
	return c.Catalog(ctx, channel)
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
