package window

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

const (
	dayForm    = "2006-01-02"
	minuteForm = "2006-01-02T15:04"
	clockForm  = "15:04"
)

// New checks a window. Errors name the field.
func New(s Spec) (Window, error) {
	w, err := s.window()
	if err != nil {
		return Window{}, fmt.Errorf("window %.64q: %w", s.Name, err)
	}
	return w, nil
}

func (s Spec) window() (Window, error) {
	w := Window{spec: s, except: map[string]bool{}}
	w.spec.Except, w.spec.Extra = slices.Clone(s.Except), slices.Clone(s.Extra)
	if err := checkName(s.Name); err != nil {
		return w, err
	}
	var err error
	if w.zone, err = loadZone(s.In); err != nil {
		return w, err
	}
	if w.length, err = parseLength(s.For); err != nil {
		return w, err
	}
	if w.at, err = exactly(clockForm, s.At); err != nil {
		return w, fmt.Errorf("at %.20q: not a time of day like 02:30", s.At)
	}
	if len(s.Except) > MaxDates || len(s.Extra) > MaxDates {
		return w, fmt.Errorf("more than %d exceptions or extra dates", MaxDates)
	}
	if err := w.dates(s); err != nil {
		return w, err
	}
	if s.Rule == "" {
		switch {
		case len(w.extra) == 0:
			return w, errors.New("neither a rule nor an extra date: it would never open")
		case s.From != "":
			return w, errors.New("from: there is no rule that could begin")
		}
		return w, nil
	}
	first := date(minYear, 1, 1)
	if s.From != "" {
		if first, err = exactly(dayForm, s.From); err != nil || first.Year() < minYear || first.Year() > maxYear {
			return w, fmt.Errorf("from %.20q: not a day like 2026-01-31, %d to %d", s.From, minYear, maxYear)
		}
	}
	start := first.Add(time.Duration(w.at.Hour())*time.Hour + time.Duration(w.at.Minute())*time.Minute)
	w.rule, err = parseRule(s.Rule, start, s.From != "", w.zone)
	return w, err
}

func (w *Window) dates(s Spec) error {
	for _, e := range s.Except {
		if _, err := exactly(dayForm, e); err == nil {
			w.except[e] = true
		} else if t, err := exactly(minuteForm, e); err == nil {
			w.closing = append(w.closing, t)
		} else {
			return fmt.Errorf("except %.20q: neither a day like 2026-12-24 nor a minute like 2026-12-24T02:30", e)
		}
	}
	for _, e := range s.Extra {
		t, err := exactly(dayForm, e)
		if err == nil {
			t = t.Add(time.Duration(w.at.Hour())*time.Hour + time.Duration(w.at.Minute())*time.Minute)
		} else if t, err = exactly(minuteForm, e); err != nil {
			return fmt.Errorf("extra %.20q: neither a day like 2026-12-24 nor a minute like 2026-12-24T02:30", e)
		}
		w.extra = append(w.extra, t)
	}
	return nil
}

// exactly parses what form would write, and nothing near it.
func exactly(form, s string) (civil, error) {
	t, err := time.Parse(form, s)
	if err == nil && t.Format(form) != s {
		err = fmt.Errorf("not %s", form)
	}
	return t, err
}

func parseLength(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if len(s) > 20 || err != nil || d < time.Minute || d > MaxOpen || d%time.Second != 0 {
		return 0, fmt.Errorf("for %.20q: not a length like 4h or 3h55m, one minute to %v", s, MaxOpen)
	}
	return d, nil
}

func checkName(s string) error {
	if len(s) > 64 || !utf8.ValidString(s) || strings.Join(strings.Fields(s), " ") != s || strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return errors.New("its name is longer than 64 bytes, or not words with single spaces")
	}
	return nil
}

// Parse reads a window as words:
//
//	FREQ=WEEKLY;BYDAY=SA,SU at 02:30 for 4h in Europe/Berlin
//	[from 2026-01-01] [except 2026-12-26,…] [extra 2026-12-27T10:00,…] [named late weekend]
//
// The rule comes first and may be missing; the name comes last; what is between
// them comes in any order, each once.
func Parse(text string) (Window, error) {
	if len(text) > MaxText {
		return Window{}, fmt.Errorf("window: %d bytes, more than %d", len(text), MaxText)
	}
	words := strings.Fields(text)
	var s Spec
	if len(words) > 0 && strings.Contains(words[0], "=") {
		s.Rule, words = words[0], words[1:]
	}
	seen := map[string]bool{}
	for ; len(words) >= 2; words = words[2:] {
		key, value := words[0], words[1]
		if seen[key] {
			return Window{}, fmt.Errorf("window %.80q: %s twice", text, key)
		}
		seen[key] = true
		switch key {
		case "at":
			s.At = value
		case "for":
			s.For = value
		case "in":
			s.In = value
		case "from":
			s.From = value
		case "named":
			s.Name = strings.Join(words[1:], " ")
			return New(s)
		case "except":
			s.Except = strings.Split(value, ",")
		case "extra":
			s.Extra = strings.Split(value, ",")
		default:
			return Window{}, fmt.Errorf("window %.80q: %.20q has no meaning here", text, key)
		}
	}
	if len(words) > 0 {
		return Window{}, fmt.Errorf("window %.80q: nothing behind %.20q", text, words[0])
	}
	return New(s)
}

// MarshalJSON writes the Spec.
func (w Window) MarshalJSON() ([]byte, error) { return json.Marshal(w.spec) }

// UnmarshalJSON reads a Spec and checks it. Unknown fields are errors.
func (w *Window) UnmarshalJSON(data []byte) error {
	var s Spec
	if err := decode(data, &s); err != nil {
		return fmt.Errorf("window: %w", err)
	}
	v, err := New(s)
	if err != nil {
		return err
	}
	*w = v
	return nil
}

// Equal compares how windows were written.
func (w Window) Equal(v Window) bool { return w.spec.String() == v.spec.String() }

// UnmarshalJSON reads a list of windows with different names.
func (s *Schedule) UnmarshalJSON(data []byte) error {
	var list []json.RawMessage
	if err := decode(data, &list); err != nil {
		return fmt.Errorf("windows: %w", err)
	}
	if len(list) > MaxWindows {
		return fmt.Errorf("windows: %d, more than %d", len(list), MaxWindows)
	}
	out := make(Schedule, len(list))
	for i, raw := range list {
		if err := out[i].UnmarshalJSON(raw); err != nil {
			return err
		}
		if slices.ContainsFunc(out[:i], func(w Window) bool { return w.Name() == out[i].Name() }) {
			return fmt.Errorf("windows: two are named %.64q", out[i].Name())
		}
	}
	*s = out
	return nil
}

func decode(data []byte, v any) error {
	if len(data) > 64*MaxText {
		return fmt.Errorf("%d bytes, more than %d", len(data), 64*MaxText)
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return fmt.Errorf("offset %d: %w", d.InputOffset(), err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("offset %d: data behind the value", d.InputOffset())
	}
	return nil
}
