package agent

import (
	"context"
	"database/sql"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/database"
	_ "modernc.org/sqlite" // the engine, in Go

	"hotpatch/internal/catalog"
)

// Journal is what the agent keeps on disk: an SQLite database. Every write is
// on the disk when it returns. It holds what was wanted and what happened;
// what is true of the host is measured anew each time.
type Journal struct{ db *sql.DB }

//go:embed migrations/*.sql
var migrations embed.FS

// OpenJournal opens the file, and creates it when it is not there. A damaged
// file is an error and is left as it is.
func OpenJournal(file string) (*Journal, error) {
	db, err := sql.Open("sqlite", "file:"+file+"?_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=busy_timeout(5000)&_pragma=foreign_keys(1)")
	if err != nil {
		return nil, fmt.Errorf("open journal %s: %w", file, err)
	}
	db.SetMaxOpenConns(4)
	j := &Journal{db}
	if err := j.migrate(); err != nil {
		db.Close()
		return nil, fmt.Errorf("open journal %s: %w", file, err)
	}
	return j, nil
}

func (j *Journal) migrate() error {
	var verdict string
	if err := j.db.QueryRow("PRAGMA quick_check(1)").Scan(&verdict); err != nil {
		return err
	}
	if verdict != "ok" {
		return fmt.Errorf("it is damaged: %s", verdict)
	}
	dir, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	p, err := goose.NewProvider(database.DialectSQLite3, j.db, dir, goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return err
	}
	have, err := p.GetDBVersion(context.Background())
	if err != nil {
		return err
	}
	if known := p.ListSources(); have > known[len(known)-1].Version {
		return fmt.Errorf("it was written by a newer hotpatch (version %d, we know %d)", have, known[len(known)-1].Version)
	}
	_, err = p.Up(context.Background())
	return err
}

// Close releases the file.
func (j *Journal) Close() error { return j.db.Close() }

// The keys of table state.
const (
	keyEnrolment  = "enrolment"
	keyCatalog    = "catalog"
	keyFetched    = "fetched"
	keyAssessment = "assessment"
	keyRebase     = "rebase"
	keyPolicy     = "policy"
)

func (j *Journal) get(key string, into any) (bool, error) {
	var b []byte
	err := j.db.QueryRow("SELECT value FROM state WHERE key = ?", key).Scan(&b)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	if err == nil {
		err = json.Unmarshal(b, into)
	}
	if err != nil {
		return false, fmt.Errorf("read %s from the journal: %w", key, err)
	}
	return true, nil
}

func (j *Journal) put(key string, v any) error {
	b, err := json.Marshal(v)
	if err == nil {
		_, err = j.db.Exec("INSERT INTO state VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = ?2", key, b)
	}
	if err != nil {
		return fmt.Errorf("write %s to the journal: %w", key, err)
	}
	return nil
}

// Enrolment is what is wanted of this host; NotEnrolled when nothing was said.
func (j *Journal) Enrolment() (catalog.Enrolment, error) {
	e := catalog.Enrolment{Intent: catalog.NotEnrolled}
	_, err := j.get(keyEnrolment, &e)
	return e, err
}

// PutEnrolment keeps it.
func (j *Journal) PutEnrolment(e catalog.Enrolment) error { return j.put(keyEnrolment, e) }

// Catalog is the last one that was verified, and when; nil when there is none.
func (j *Journal) Catalog() (*catalog.Catalog, time.Time, error) {
	var c *catalog.Catalog
	var at time.Time
	if _, err := j.get(keyCatalog, &c); err != nil {
		return nil, at, err
	}
	_, err := j.get(keyFetched, &at)
	return c, at, err
}

// PutCatalog keeps a verified one.
func (j *Journal) PutCatalog(c *catalog.Catalog, at time.Time) error {
	if err := j.put(keyCatalog, c); err != nil {
		return err
	}
	return j.put(keyFetched, at)
}

// Assessment is the last one; nil when there is none.
func (j *Journal) Assessment() (*catalog.Assessment, error) {
	var a *catalog.Assessment
	_, err := j.get(keyAssessment, &a)
	return a, err
}

// PutAssessment keeps it.
func (j *Journal) PutAssessment(a *catalog.Assessment) error { return j.put(keyAssessment, a) }

// Rebase is the baseline that somebody asked to be taken without waiting.
func (j *Journal) Rebase() (catalog.ReleaseID, error) {
	var id catalog.ReleaseID
	_, err := j.get(keyRebase, &id)
	return id, err
}

// PutRebase keeps it; "" forgets.
func (j *Journal) PutRebase(id catalog.ReleaseID) error { return j.put(keyRebase, id) }

// Policy is the last one that was good; nil when there is none.
func (j *Journal) Policy() (*Policy, error) {
	var text string
	there, err := j.get(keyPolicy, &text)
	if err != nil || !there {
		return nil, err
	}
	p, err := ParsePolicy([]byte(text))
	if err != nil {
		return nil, nil // an older hotpatch found it good; the file decides
	}
	return p, nil
}

// PutPolicy keeps a good one.
func (j *Journal) PutPolicy(p *Policy) error { return j.put(keyPolicy, p.text) }

// EventKind is what sort of thing happened.
type EventKind string

// The kinds of events.
const (
	TrackChanged     EventKind = "track-changed"
	EnrolmentChanged EventKind = "enrolment-changed"
	RepositoryGone   EventKind = "repository-gone"
	RepositoryBack   EventKind = "repository-back"
	PolicyBad        EventKind = "policy-bad"
	ReleaseStaged    EventKind = "staged"
	CopyPurged       EventKind = "purged"
	RunEnded         EventKind = "run-ended"
	RunInterrupted   EventKind = "run-interrupted"
	Incident         EventKind = "incident"
	BarLifted        EventKind = "bar-lifted"
	RebaseAsked      EventKind = "rebase-asked"
)

// Event is one thing that happened.
type Event struct {
	ID      int64             `json:"id"`
	At      time.Time         `json:"at"`
	Kind    EventKind         `json:"kind"`
	Release catalog.ReleaseID `json:"release,omitempty"`
	Text    string            `json:"text"`
}

// Note keeps an event.
func (j *Journal) Note(e Event) error {
	_, err := j.db.Exec("INSERT INTO events (at, kind, release, text) VALUES (?, ?, ?, ?)", e.At.UnixNano(), e.Kind, e.Release, e.Text)
	return wrap("write an event", err)
}

// Events are those after an event's ID, oldest first, at most n.
func (j *Journal) Events(after int64, n int) ([]Event, error) {
	return query(j, "read events", func(r *sql.Rows) (e Event, err error) {
		var at int64
		err = r.Scan(&e.ID, &at, &e.Kind, &e.Release, &e.Text)
		e.At = time.Unix(0, at).UTC()
		return e, err
	}, "SELECT id, at, kind, release, text FROM events WHERE id > ? ORDER BY id LIMIT ?", after, n)
}

// LastEvents are the newest n, oldest first.
func (j *Journal) LastEvents(n int) ([]Event, error) {
	var from int64
	err := j.db.QueryRow("SELECT coalesce(min(id), 1) - 1 FROM (SELECT id FROM events ORDER BY id DESC LIMIT ?)", n).Scan(&from)
	if err != nil {
		return nil, wrap("read events", err)
	}
	return j.Events(from, n)
}

// PutRun keeps a run as it stands.
func (j *Journal) PutRun(r *catalog.Run) error {
	body, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("encode run: %w", err)
	}
	var ended any
	if !r.Ended.IsZero() {
		ended = r.Ended.UnixNano()
	}
	_, err = j.db.Exec(`INSERT INTO runs VALUES (?1, ?2, ?3, ?4, ?5, ?6)
		ON CONFLICT (id) DO UPDATE SET ended = ?3, state = ?5, body = ?6`,
		r.ID, r.Started.UnixNano(), ended, r.Release, r.State, body)
	return wrap("write a run", err)
}

// Runs are the newest n, newest first.
func (j *Journal) Runs(n int) ([]catalog.Run, error) {
	return query(j, "read runs", scanRun, "SELECT body FROM runs ORDER BY started DESC, rowid DESC LIMIT ?", n)
}

// OpenRuns are the runs without an end: the one that goes on, and what a killed
// agent left.
func (j *Journal) OpenRuns() ([]catalog.Run, error) {
	return query(j, "read runs", scanRun, "SELECT body FROM runs WHERE ended IS NULL ORDER BY started")
}

// CountRuns counts the runs by how they ended.
func (j *Journal) CountRuns() (map[string]int, error) {
	type row struct {
		state string
		n     int
	}
	rows, err := query(j, "count runs", func(r *sql.Rows) (x row, err error) {
		err = r.Scan(&x.state, &x.n)
		return x, err
	}, "SELECT state, count(*) FROM runs GROUP BY state")
	counts := map[string]int{}
	for _, x := range rows {
		counts[x.state] = x.n
	}
	return counts, err
}

func scanRun(r *sql.Rows) (run catalog.Run, err error) {
	var body []byte
	if err = r.Scan(&body); err == nil {
		err = json.Unmarshal(body, &run)
	}
	return run, err
}

// Copy is a hotpatch in the staging directory.
type Copy struct {
	Bundle  catalog.Digest
	Release catalog.ReleaseID
	Content catalog.Digest // of the release when it was staged
	At      time.Time
}

// PutCopy keeps that a hotpatch was staged for a release.
func (j *Journal) PutCopy(c Copy) error {
	_, err := j.db.Exec("INSERT OR REPLACE INTO staged VALUES (?, ?, ?, ?)", c.Bundle, c.Release, c.Content, c.At.UnixNano())
	return wrap("write a staged copy", err)
}

// Copies are all staged hotpatches.
func (j *Journal) Copies() ([]Copy, error) {
	return query(j, "read staged copies", func(r *sql.Rows) (c Copy, err error) {
		var at int64
		err = r.Scan(&c.Bundle, &c.Release, &c.Content, &at)
		c.At = time.Unix(0, at).UTC()
		return c, err
	}, "SELECT bundle, release, content, at FROM staged ORDER BY at")
}

// DropCopy forgets a staged copy.
func (j *Journal) DropCopy(c Copy) error {
	_, err := j.db.Exec("DELETE FROM staged WHERE bundle = ? AND release = ?", c.Bundle, c.Release)
	return wrap("drop a staged copy", err)
}

// Patched is a process that is watched after it was patched.
type Patched struct {
	PID      int
	Started  uint64
	Release  catalog.ReleaseID
	Bundle   catalog.Digest
	Name     string
	Unit     string // "": none
	Restarts int    // of the unit by its manager, when the process was patched
	Until    time.Time
}

// PutPatched begins to watch a process.
func (j *Journal) PutPatched(p Patched) error {
	_, err := j.db.Exec("INSERT OR REPLACE INTO soak VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
		p.PID, int64(p.Started), p.Release, p.Bundle, p.Name, p.Unit, p.Restarts, p.Until.UnixNano())
	return wrap("write a watched process", err)
}

// Soaking are the processes that are watched at now.
func (j *Journal) Soaking(now time.Time) ([]Patched, error) {
	return query(j, "read watched processes", func(r *sql.Rows) (p Patched, err error) {
		var started, until int64
		err = r.Scan(&p.PID, &started, &p.Release, &p.Bundle, &p.Name, &p.Unit, &p.Restarts, &until)
		p.Started, p.Until = uint64(started), time.Unix(0, until).UTC()
		return p, err
	}, "SELECT pid, started, release, bundle, name, unit, restarts, until FROM soak WHERE until > ? ORDER BY pid", now.UnixNano())
}

// DropProcess ends the watch over one process.
func (j *Journal) DropProcess(p Patched) error {
	_, err := j.db.Exec("DELETE FROM soak WHERE pid = ? AND started = ?", p.PID, int64(p.Started))
	return wrap("end a watch", err)
}

// DropPatched ends the watch over the processes of one release ("": of all
// whose time is over at now).
func (j *Journal) DropPatched(release catalog.ReleaseID, now time.Time) error {
	_, err := j.db.Exec("DELETE FROM soak WHERE release = ? OR until <= ?", release, now.UnixNano())
	return wrap("end a watch", err)
}

// Bar is why a release is not applied again here.
type Bar struct {
	Release catalog.ReleaseID `json:"release"`
	Content catalog.Digest    `json:"content"`
	At      time.Time         `json:"at"`
	Why     string            `json:"why"`
}

// PutBar keeps one.
func (j *Journal) PutBar(b Bar) error {
	_, err := j.db.Exec("INSERT OR IGNORE INTO barred VALUES (?, ?, ?, ?)", b.Release, b.Content, b.At.UnixNano(), b.Why)
	return wrap("bar a release", err)
}

// Bars are all of them.
func (j *Journal) Bars() ([]Bar, error) {
	return query(j, "read barred releases", func(r *sql.Rows) (b Bar, err error) {
		var at int64
		err = r.Scan(&b.Release, &b.Content, &at, &b.Why)
		b.At = time.Unix(0, at).UTC()
		return b, err
	}, "SELECT release, content, at, why FROM barred ORDER BY at")
}

// DropBar lifts it; false: there was none.
func (j *Journal) DropBar(release catalog.ReleaseID) (bool, error) {
	r, err := j.db.Exec("DELETE FROM barred WHERE release = ?", release)
	if err != nil {
		return false, wrap("lift a bar", err)
	}
	n, err := r.RowsAffected()
	return n > 0, wrap("lift a bar", err)
}

// PutReceipt keeps who put a release on this host.
func (j *Journal) PutReceipt(r catalog.Receipt) error {
	_, err := j.db.Exec("INSERT INTO receipts VALUES (?, ?, ?)", r.Release, r.At.UnixNano(), r.By)
	return wrap("write a receipt", err)
}

// Receipts are all of them, oldest first.
func (j *Journal) Receipts() ([]catalog.Receipt, error) {
	return query(j, "read receipts", func(r *sql.Rows) (x catalog.Receipt, err error) {
		var at int64
		err = r.Scan(&x.Release, &at, &x.By)
		x.At = time.Unix(0, at).UTC()
		return x, err
	}, "SELECT release, at, by FROM receipts ORDER BY at")
}

func query[T any](j *Journal, what string, scan func(*sql.Rows) (T, error), text string, args ...any) ([]T, error) {
	rows, err := j.db.Query(text, args...)
	if err != nil {
		return nil, wrap(what, err)
	}
	defer rows.Close()
	var out []T
	for rows.Next() {
		v, err := scan(rows)
		if err != nil {
			return nil, wrap(what, err)
		}
		out = append(out, v)
	}
	return out, wrap(what, rows.Err())
}

func wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s in the journal: %w", what, err)
}
