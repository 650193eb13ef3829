package window_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/teambition/rrule-go"
	"pgregory.net/rapid"

	"hotpatch/internal/window"
)

func parse(t testing.TB, text string) window.Window {
	t.Helper()
	w, err := window.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func at(t testing.TB, s string) time.Time {
	t.Helper()
	v, err := time.Parse(time.RFC3339, s)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// The days on which clocks jump, in zones that differ in sign, size and
// hemisphere; Samoa skipped a whole day.
func TestStartsOnTheDaysWhenClocksAreChanged(t *testing.T) {
	for _, c := range []struct{ zone, clock, day, start, why string }{
		{"Europe/Berlin", "02:30", "2026-03-29", "2026-03-29T01:30:00Z", "skipped: happens at 03:30 summer time"},
		{"Europe/Berlin", "01:59", "2026-03-29", "2026-03-29T00:59:00Z", "the last minute before"},
		{"Europe/Berlin", "03:00", "2026-03-29", "2026-03-29T01:00:00Z", "the first minute after"},
		{"Europe/Berlin", "02:30", "2026-10-25", "2026-10-25T00:30:00Z", "twice: the first"},
		{"Europe/Berlin", "03:00", "2026-10-25", "2026-10-25T02:00:00Z", "once, after both"},
		{"America/New_York", "02:30", "2026-03-08", "2026-03-08T07:30:00Z", "skipped"},
		{"America/New_York", "01:30", "2026-11-01", "2026-11-01T05:30:00Z", "twice: the first"},
		{"Australia/Lord_Howe", "02:15", "2026-10-04", "2026-10-03T15:45:00Z", "half an hour is skipped"},
		{"Australia/Lord_Howe", "02:30", "2026-10-04", "2026-10-03T15:30:00Z", "the first minute after half an hour"},
		{"Australia/Lord_Howe", "01:45", "2026-04-05", "2026-04-04T14:45:00Z", "half an hour twice: the first"},
		{"Pacific/Apia", "12:00", "2011-12-29", "2011-12-29T22:00:00Z", "the day before the one that never was"},
		{"Pacific/Apia", "12:00", "2011-12-31", "2011-12-30T22:00:00Z", "the day after"},
		{"UTC", "02:30", "2026-03-29", "2026-03-29T02:30:00Z", "never changed"},
	} {
		t.Run(c.zone+" "+c.day+" "+c.clock, func(t *testing.T) {
			w := parse(t, fmt.Sprintf("FREQ=DAILY at %s for 1h in %s", c.clock, c.zone))
			start := at(t, c.start)
			o, ok := window.Schedule{w}.Next(start.Add(-time.Second))
			if !ok || !o.Start.Equal(start) || o.End.Sub(o.Start) != time.Hour {
				t.Fatalf("opens %v, want %v (%s)", o, start, c.why)
			}
			if o, ok := (window.Schedule{w}).At(start.Add(30 * time.Minute)); !ok || o.Left(start.Add(30*time.Minute)) != 30*time.Minute {
				t.Errorf("half way: %v %v", o, ok)
			}
			if o, ok := (window.Schedule{w}).At(start.Add(time.Hour)); ok {
				t.Errorf("at its end it is still open: %v", o)
			}
		})
	}
}

var zones = []string{"UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/St_Johns",
	"Africa/Casablanca", "Asia/Kolkata", "Pacific/Apia", "America/Sao_Paulo", "Antarctica/Troll", "Europe/Dublin"}

// Every day of the wall gets exactly one start, at the time asked for or, where
// the wall does not show that, later the same day by what was skipped.
func TestEveryDayOpensOnceInEveryZone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.SampledFrom(zones).Draw(t, "zone")
		zone, err := time.LoadLocation(name)
		if err != nil {
			t.Fatal(err)
		}
		minute := rapid.IntRange(0, 24*60-1).Draw(t, "minute")
		year := rapid.IntRange(2012, 2035).Draw(t, "year")
		clock := fmt.Sprintf("%02d:%02d", minute/60, minute%60)
		w, err := window.Parse(fmt.Sprintf("FREQ=DAILY at %s for 2h in %s", clock, name))
		if err != nil {
			t.Fatal(err)
		}
		from := time.Date(year, 1, 1, 0, 0, 0, 0, zone)
		to := time.Date(year+1, 1, 1, 0, 0, 0, 0, zone)
		seen := map[string]bool{}
		var last time.Time
		for _, o := range w.Openings(from, to.Add(-time.Second)) {
			if !o.Start.After(last) && !last.IsZero() {
				t.Fatalf("%v after %v", o.Start, last)
			}
			last = o.Start
			shown := o.Start.In(zone)
			if got := shown.Format("15:04"); got != clock {
				// Only where the wall skips: the minute before, reckoned back, shows the old offset.
				_, now := shown.Zone()
				_, before := o.Start.Add(-3 * time.Hour).In(zone).Zone()
				asked := (shown.Hour()*60 + shown.Minute() - (now-before)/60 + 24*60) % (24 * 60)
				if now <= before || asked != minute {
					t.Fatalf("%s opens at %v", clock, shown)
				}
			}
			seen[shown.Format("2006-01-02")] = true
			if o.End.Sub(o.Start) != 2*time.Hour {
				t.Fatalf("%v is open for %v", o, o.End.Sub(o.Start))
			}
		}
		for d := time.Date(year, 1, 1, 12, 0, 0, 0, time.UTC); d.Year() == year; d = d.AddDate(0, 0, 1) {
			day := d.Format("2006-01-02")
			next := d.AddDate(0, 0, 1).Format("2006-01-02")
			if !seen[day] && !seen[next] { // a start at the day's end may be pushed over midnight
				t.Fatalf("%s %s: no opening on %s", name, clock, day)
			}
		}
	})
}

// Where clocks never change the library is right: it is the oracle.
func TestRulesMeanWhatTheLibrarySaysTheyMean(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text, from, clock := drawRule(t)
		w, err := window.Parse(fmt.Sprintf("%s at %s for 1h in UTC from %s", text, clock, from))
		if err != nil {
			t.Skip(err)
		}
		o, err := rrule.StrToROption(text)
		if err != nil {
			t.Fatal(err)
		}
		if o.Dtstart, err = time.Parse("2006-01-02 15:04", from+" "+clock); err != nil {
			t.Fatal(err)
		}
		// The iterator ends only with an occurrence: a second rule gives it one.
		end := o.Dtstart.AddDate(9, 0, 0)
		lib, err := rrule.NewRRule(*o)
		if err != nil {
			t.Fatal(err)
		}
		var want []time.Time
		for next := lib.Iterator(); ; {
			v, ok := next()
			if !ok || v.After(end) {
				break
			}
			want = append(want, v)
		}
		skip := rapid.IntRange(0, 3000).Draw(t, "days before the search")
		first := o.Dtstart.AddDate(0, 0, skip)
		want = slices.DeleteFunc(want, func(v time.Time) bool { return v.Before(first) })
		var got []time.Time
		for _, o := range w.Openings(first, end) {
			got = append(got, o.Start)
		}
		if !slices.EqualFunc(got, want, time.Time.Equal) {
			t.Fatalf("%s from %s: %d openings %v\nthe library has %d %v", text, from, len(got), head(got), len(want), head(want))
		}
	})
}

func head(list []time.Time) []time.Time { return list[:min(len(list), 6)] }

func drawRule(t *rapid.T) (text, from, clock string) {
	freq := rapid.SampledFrom([]string{"DAILY", "WEEKLY", "MONTHLY", "YEARLY"}).Draw(t, "freq")
	parts := []string{"FREQ=" + freq}
	add := func(name string, gen *rapid.Generator[string]) {
		if rapid.Bool().Draw(t, "with "+name) {
			n := rapid.IntRange(1, 3).Draw(t, "how many")
			parts = append(parts, name+"="+strings.Join(rapid.SliceOfNDistinct(gen, n, n, rapid.ID).Draw(t, name), ","))
		}
	}
	number := func(list ...int) *rapid.Generator[string] {
		return rapid.Map(rapid.SampledFrom(list), func(n int) string { return fmt.Sprint(n) })
	}
	if rapid.Bool().Draw(t, "interval") {
		parts = append(parts, fmt.Sprintf("INTERVAL=%d", rapid.IntRange(1, 5).Draw(t, "n")))
	}
	if rapid.IntRange(0, 3).Draw(t, "count") == 0 {
		parts = append(parts, fmt.Sprintf("COUNT=%d", rapid.IntRange(1, 40).Draw(t, "n")))
	}
	if freq == "WEEKLY" && rapid.Bool().Draw(t, "wkst") {
		parts = append(parts, "WKST=SU")
	}
	days := []string{"MO", "TU", "WE", "TH", "FR", "SA", "SU"}
	if freq == "MONTHLY" && rapid.Bool().Draw(t, "numbered") {
		days = []string{"1MO", "2TU", "-1FR", "3WE", "4SU", "-2SA"}
	}
	add("BYMONTH", number(1, 2, 3, 4, 6, 7, 10, 12))
	if freq == "MONTHLY" || freq == "DAILY" {
		add("BYMONTHDAY", number(1, 5, 8, 13, 21, 28, -1, -3))
	}
	if freq != "YEARLY" {
		add("BYDAY", rapid.SampledFrom(days))
	}
	if freq == "MONTHLY" && rapid.Bool().Draw(t, "setpos") {
		add("BYSETPOS", number(1, 2, -1))
	}
	add("BYHOUR", number(0, 2, 3, 14, 23))
	day := rapid.IntRange(0, 3000).Draw(t, "from")
	return strings.Join(parts, ";"), time.Date(2020, 1, 1+day, 0, 0, 0, 0, time.UTC).Format("2006-01-02"),
		rapid.SampledFrom([]string{"00:00", "02:30", "23:59"}).Draw(t, "clock")
}

func TestRulesPeopleUse(t *testing.T) {
	for _, c := range []struct {
		text  string
		after string
		want  []string // local starts
	}{
		{"FREQ=MONTHLY;BYDAY=2TU at 19:00 for 4h in Europe/Berlin", "2026-01-01T00:00:00Z",
			[]string{"2026-01-13 19:00", "2026-02-10 19:00", "2026-03-10 19:00"}},
		{"FREQ=MONTHLY;BYDAY=SA;BYMONTHDAY=11,12,13,14,15,16,17 at 02:00 for 5h in UTC", "2026-01-01T00:00:00Z", // Saturday behind the second Tuesday
			[]string{"2026-01-17 02:00", "2026-02-14 02:00", "2026-03-14 02:00"}},
		{"FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1 at 20:00 for 1h in UTC", "2026-01-01T00:00:00Z",
			[]string{"2026-01-30 20:00", "2026-02-27 20:00", "2026-03-31 20:00"}},
		{"FREQ=WEEKLY;INTERVAL=2;BYDAY=SU at 03:00 for 6h in America/New_York from 2026-01-04", "2026-01-05T00:00:00Z",
			[]string{"2026-01-18 03:00", "2026-02-01 03:00"}},
		{"FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=29 at 12:00 for 1h in UTC", "2096-03-01T00:00:00Z",
			[]string{"2104-02-29 12:00"}},
		{"FREQ=DAILY;BYHOUR=2,14 at 00:15 for 1h in UTC except 2026-01-02 extra 2026-01-02T09:00", "2026-01-01T12:00:00Z",
			[]string{"2026-01-01 14:15", "2026-01-03 02:15"}},
		{"at 09:00 for 2h in UTC extra 2026-05-01,2026-05-02T10:30", "2026-01-01T00:00:00Z",
			[]string{"2026-05-01 09:00", "2026-05-02 10:30"}},
		{"FREQ=DAILY;UNTIL=20260103T100000Z at 09:00 for 2h in UTC", "2026-01-01T12:00:00Z",
			[]string{"2026-01-02 09:00", "2026-01-03 09:00", ""}},
	} {
		w := parse(t, c.text)
		zone, err := time.LoadLocation(w.Spec().In)
		if err != nil {
			t.Fatal(err)
		}
		now := at(t, c.after)
		for _, want := range c.want {
			o, ok := window.Schedule{w}.Next(now)
			if ok != (want != "") || ok && o.Start.In(zone).Format("2006-01-02 15:04") != want {
				t.Errorf("%s\nafter %v: %v %v, want %s", c.text, now, o.Start.In(zone), ok, want)
				break
			}
			now = o.Start
		}
	}
}

func TestExceptionsTakeAwayAndExtraDatesAdd(t *testing.T) {
	w := parse(t, "FREQ=DAILY at 02:00 for 1h in Europe/Berlin except 2026-12-24,2026-12-25T02:00 extra 2026-12-24T20:00,2026-12-27")
	var got []string
	for _, o := range w.Openings(at(t, "2026-12-23T00:00:00Z"), at(t, "2026-12-27T12:00:00Z")) {
		got = append(got, o.Start.Format("02T15"))
	}
	// The whole of 24 December is closed, extra date or not.
	if want := []string{"23T01", "26T01", "27T01"}; !slices.Equal(got, want) {
		t.Errorf("opens %v, want %v", got, want)
	}
}

func TestOpeningsThatTouchAreOne(t *testing.T) {
	day := parse(t, "FREQ=DAILY at 00:00 for 25h in Europe/Berlin named day") // 25h: also over the long day in October
	now := at(t, "2026-10-20T00:00:00Z")
	o, ok := window.Schedule{day}.At(now)
	if !ok || o.Left(now) < 365*24*time.Hour {
		t.Errorf("a window without gaps ends: %v %v", o, ok)
	}
	a, b := parse(t, "FREQ=DAILY at 01:00 for 1h in UTC named a"), parse(t, "FREQ=DAILY at 02:00 for 90m in UTC named b")
	if o, ok := (window.Schedule{a, b}).At(at(t, "2026-01-01T01:30:00Z")); !ok || o.Left(at(t, "2026-01-01T01:30:00Z")) != 2*time.Hour {
		t.Errorf("two windows in a row: %v %v", o, ok)
	}
}

func TestNoScheduleIsNeverOpen(t *testing.T) {
	now := at(t, "2026-01-01T00:00:00Z")
	for _, s := range []window.Schedule{nil, {}, {window.Window{}}} {
		if o, ok := s.At(now); ok {
			t.Errorf("open: %v", o)
		}
		if o, ok := s.Next(now); ok {
			t.Errorf("opens: %v", o)
		}
	}
}

// At and Next agree with the openings, at any instant.
func TestAtAndNextAgreeWithOpenings(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w, err := window.Parse(fmt.Sprintf("FREQ=WEEKLY;BYDAY=%s at %02d:30 for %dm in %s",
			rapid.SampledFrom([]string{"SU", "MO,TH", "SA,SU"}).Draw(t, "days"), rapid.IntRange(0, 23).Draw(t, "hour"),
			rapid.IntRange(1, 600).Draw(t, "minutes"), rapid.SampledFrom(zones).Draw(t, "zone")))
		if err != nil {
			t.Fatal(err)
		}
		now := time.Unix(rapid.Int64Range(1_600_000_000, 2_000_000_000).Draw(t, "now"), 0)
		s := window.Schedule{w}
		all := w.Openings(now.AddDate(0, 0, -10), now.AddDate(0, 0, 10))
		inside := slices.IndexFunc(all, func(o window.Opening) bool { return !o.Start.After(now) && o.End.After(now) })
		o, ok := s.At(now)
		if ok != (inside >= 0) || ok && !o.End.Equal(all[inside].End) {
			t.Fatalf("at %v: %v %v, of %v", now, o, ok, all)
		}
		after := slices.IndexFunc(all, func(o window.Opening) bool { return o.Start.After(now) })
		if o, ok := s.Next(now); !ok || after < 0 || !o.Start.Equal(all[after].Start) {
			t.Fatalf("after %v: %v %v, of %v", now, o, ok, all)
		}
	})
}

func TestWhatFitsFollowsTheRule(t *testing.T) {
	for _, c := range []struct {
		left    time.Duration
		n       int
		each    time.Duration
		restart bool
		want    bool
	}{
		{5 * time.Minute, 1, time.Minute, false, false}, // more than five minutes, not five
		{5*time.Minute + 1, 1, time.Hour, false, true},
		{15 * time.Minute, 11, time.Minute, false, false},
		{15*time.Minute + 1, 11, time.Minute, false, true},
		{30 * time.Minute, 11, time.Minute, true, false},
		{30*time.Minute + 1, 11, time.Minute, true, true},
		{0, 1, 0, false, false},
		{0, 0, time.Minute, true, true},
		{-time.Hour, 1, time.Minute, false, false},
		{time.Hour, 1 << 30, 0, true, true},
	} {
		if got := window.Fits(c.left, c.n, c.each, c.restart); got != c.want {
			t.Errorf("Fits(%v, %d, %v, %v) = %v", c.left, c.n, c.each, c.restart, got)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		left := time.Duration(rapid.Int64Range(0, int64(10*time.Hour)).Draw(t, "left"))
		each := time.Duration(rapid.Int64Range(1, int64(time.Hour)).Draw(t, "each"))
		n, restart := rapid.IntRange(1, 100).Draw(t, "n"), rapid.Bool().Draw(t, "restart")
		need := 5*time.Minute + each*time.Duration(n-1)
		if restart {
			need += 15 * time.Minute
		}
		if got := window.Fits(left, n, each, restart); got != (left > need) {
			t.Fatalf("Fits(%v, %d, %v, %v) = %v, needs more than %v", left, n, each, restart, got, need)
		}
	})
}

func TestWindowsThatAreRefused(t *testing.T) {
	for text, want := range map[string]string{
		"FREQ=SECONDLY at 02:00 for 1h in UTC":                                      "DAILY is the finest",
		"FREQ=MINUTELY at 02:00 for 1h in UTC":                                      "DAILY is the finest",
		"FREQ=HOURLY at 02:00 for 1h in UTC":                                        "DAILY is the finest",
		"FREQ=DAILY;BYHOUR=0,1,2,3,4;BYMINUTE=0,10,20,30,40 at 02:00 for 1h in UTC": "times a day",
		"FREQ=DAILY;BYSECOND=1 at 02:00 for 1h in UTC":                              "no meaning",
		"FREQ=YEARLY;BYEASTER=0 at 02:00 for 1h in UTC":                             "no meaning",
		"FREQ=DAILY;INTERVAL=0 at 02:00 for 1h in UTC from 2026-01-01":              "INTERVAL",
		"FREQ=DAILY;INTERVAL=99999 at 02:00 for 1h in UTC from 2026-01-01":          "INTERVAL",
		"FREQ=DAILY;INTERVAL=2 at 02:00 for 1h in UTC":                              "needs a first day",
		"FREQ=DAILY;COUNT=5 at 02:00 for 1h in UTC":                                 "needs a first day",
		"FREQ=WEEKLY at 02:00 for 1h in UTC":                                        "takes its day from a first day",
		"FREQ=DAILY;FREQ=DAILY at 02:00 for 1h in UTC":                              "twice",
		"FREQ=DAILY at 02:00 for 1h in Local":                                       "time zone",
		"FREQ=DAILY at 02:00 for 1h":                                                "time zone",
		"FREQ=DAILY at 02:00 for 1h in ../etc/passwd":                               "time zone",
		"FREQ=DAILY at 02:00 for 1h in Mars/Olympus":                                "unknown time zone",
		"FREQ=DAILY at 2:00 for 1h in UTC":                                          "time of day",
		"FREQ=DAILY at 24:00 for 1h in UTC":                                         "time of day",
		"FREQ=DAILY at 02:00 for 1s in UTC":                                         "not a length",
		"FREQ=DAILY at 02:00 for 9000h in UTC":                                      "not a length",
		"FREQ=DAILY at 02:00 for -1h in UTC":                                        "not a length",
		"FREQ=DAILY at 02:00 for 1h in UTC from 1900-01-01":                         "not a day",
		"FREQ=DAILY at 02:00 for 1h in UTC except 2026-02-30":                       "neither a day",
		"FREQ=DAILY at 02:00 for 1h in UTC at 03:00":                                "twice",
		"FREQ=DAILY at 02:00 for 1h in UTC until":                                   "nothing behind",
		"FREQ=DAILY at 02:00 for 1h in UTC till 2026-01-01":                         "no meaning",
		"at 02:00 for 1h in UTC":                                                    "never open",
		"":                                                                          "time zone",
	} {
		if w, err := window.Parse(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v %v, want %q", text, w, err, want)
		}
	}
}

// A rule that no day satisfies is not refused (nobody can tell), but asking
// for its next opening ends soon.
func TestRuleThatNoDaySatisfiesEnds(t *testing.T) {
	for _, rule := range []string{
		"FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30", "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=31", "FREQ=MONTHLY;BYDAY=5MO;BYMONTHDAY=1",
	} {
		w := parse(t, rule+" at 02:00 for 1h in Europe/Berlin")
		began := time.Now()
		if o, ok := (window.Schedule{w}).Next(at(t, "2026-01-01T00:00:00Z")); ok {
			t.Errorf("%s opens %v", rule, o)
		}
		if took := time.Since(began); took > time.Second {
			t.Errorf("%s took %v", rule, took)
		}
	}
}

func TestTextAndJSONSayTheSame(t *testing.T) {
	for _, text := range []string{
		"FREQ=WEEKLY;BYDAY=SA,SU at 02:30 for 4h in Europe/Berlin from 2026-01-01 except 2026-12-26 extra 2026-12-27T10:00 named late weekend",
		"at 02:30 for 3h55m in UTC extra 2026-12-27",
	} {
		w := parse(t, text)
		if w.String() != text {
			t.Errorf("%q is written %q", text, w)
		}
		data, err := json.Marshal(w)
		if err != nil {
			t.Fatal(err)
		}
		var back window.Window
		if err := json.Unmarshal(data, &back); err != nil || !back.Equal(w) {
			t.Errorf("%s: %v %v", data, back, err)
		}
	}
	got, err := json.Marshal(parse(t, "FREQ=DAILY at 02:30 for 4h in UTC named night"))
	if want := `{"name":"night","rule":"FREQ=DAILY","at":"02:30","for":"4h","in":"UTC"}`; err != nil || string(got) != want {
		t.Errorf("%s %v\nwant %s", got, err, want)
	}
}

func TestScheduleIsReadStrictly(t *testing.T) {
	good := `{"name":"a","rule":"FREQ=DAILY","at":"02:30","for":"4h","in":"UTC"}`
	var s window.Schedule
	if err := json.Unmarshal([]byte("["+good+"]"), &s); err != nil || len(s) != 1 {
		t.Fatal(s, err)
	}
	for _, bad := range []string{
		"[" + good + "," + good + "]", `[{"cron":"* * * * *"}]`, `[{}]`, `{}`, `[` + strings.Repeat(good+",", 200) + good + `]`,
	} {
		if err := json.Unmarshal([]byte(bad), &s); err == nil {
			t.Errorf("%.80s is accepted", bad)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("FREQ=WEEKLY;BYDAY=SA,SU at 02:30 for 4h in Europe/Berlin from 2026-01-01 except 2026-12-26 extra 2026-12-27T10:00 named weekend")
	f.Add("FREQ=MONTHLY;BYDAY=-1SU;BYSETPOS=-1;BYHOUR=1,2;BYMINUTE=0,30;WKST=SU;INTERVAL=3;COUNT=9 at 02:30 for 1m in Australia/Lord_Howe from 2199-12-31")
	f.Add("FREQ=YEARLY;BYWEEKNO=53;UNTIL=20300101T000000Z at 00:00 for 8784h in UTC from 2000-01-01")
	f.Add("FREQ=SECONDLY at 02:30 for 1h in UTC")
	f.Add("at 02:30 for 1h in UTC extra 0001-01-01,9999-12-31T23:59")
	now := time.Date(2026, 3, 29, 0, 59, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, text string) {
		w, err := window.Parse(text)
		if err != nil {
			return
		}
		again, err := window.Parse(w.String())
		if err != nil || !again.Equal(w) {
			t.Fatalf("%q is written %q, which reads as %v %v", text, w, again, err)
		}
		began := time.Now()
		s := window.Schedule{w}
		if o, ok := s.Next(now); ok && !o.Start.After(now) {
			t.Fatalf("the next opening after %v is %v", now, o)
		}
		if o, ok := s.At(now); ok && (o.Start.After(now) || !o.End.After(now)) {
			t.Fatalf("at %v: %v", now, o)
		}
		if took := time.Since(began); took > 5*time.Second {
			t.Fatalf("%q took %v", text, took)
		}
	})
}

func FuzzScheduleJSON(f *testing.F) {
	f.Add([]byte(`[{"name":"a","rule":"FREQ=DAILY","at":"02:30","for":"4h","in":"UTC","except":["2026-01-01"]}]`))
	f.Add([]byte(`[{"at":"02:30","for":"4h","in":"UTC","extra":["2026-01-01"]}]`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var s window.Schedule
		if json.Unmarshal(data, &s) != nil {
			return
		}
		out, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		var back window.Schedule
		if err := json.Unmarshal(out, &back); err != nil || len(back) != len(s) {
			t.Fatalf("%s: %v", out, err)
		}
	})
}
