package agent

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"hotpatch/internal/catalog"
)

// The metrics are made anew for each scrape, from the last assessment.
var (
	descTrack    = prometheus.NewDesc("hotpatch_track_state", "1 for the state this host is in.", []string{"state", "baseline", "hotpatch"}, nil)
	descIntent   = prometheus.NewDesc("hotpatch_enrolment", "1 for the intent that holds.", []string{"intent"}, nil)
	descCVEs     = prometheus.NewDesc("hotpatch_exposures", "Vulnerabilities in installed packages, by what they mean here.", []string{"status"}, nil)
	descDue      = prometheus.NewDesc("hotpatch_due", "Things to be done.", []string{"action", "blocked"}, nil)
	descAssessed = prometheus.NewDesc("hotpatch_assessed_timestamp_seconds", "When this host was last looked at.", nil, nil)
	descCatalog  = prometheus.NewDesc("hotpatch_catalog_expires_timestamp_seconds", "When the catalogue's word runs out; 0: never.", nil, nil)
	descRepo     = prometheus.NewDesc("hotpatch_repository_up", "Whether the last refresh of the catalogue succeeded.", nil, nil)
	descSoak     = prometheus.NewDesc("hotpatch_soaking_processes", "Patched processes that are being watched.", nil, nil)
	descBars     = prometheus.NewDesc("hotpatch_barred_releases", "Releases that did harm here and are kept out.", nil, nil)
	descRuns     = prometheus.NewDesc("hotpatch_runs_total", "Pieces of work, by how they ended.", []string{"state"}, nil)
)

// Metrics serves them in Prometheus' formats.
func (a *Agent) Metrics() http.Handler {
	r := prometheus.NewRegistry()
	r.MustRegister(collector{a})
	return promhttp.HandlerFor(r, promhttp.HandlerOpts{})
}

type collector struct{ a *Agent }

func (collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descTrack, descIntent, descCVEs, descDue, descAssessed, descCatalog, descRepo, descSoak, descBars, descRuns} {
		ch <- d
	}
}

func (c collector) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	s, err := c.a.Status()
	if err != nil {
		ch <- prometheus.NewInvalidMetric(descTrack, err)
		return
	}
	gauge(descTrack, 1, string(s.Track.State), string(s.Track.Baseline), string(s.Track.Hotpatch))
	gauge(descIntent, 1, string(s.Intent))
	for _, x := range []catalog.ExposureStatus{catalog.NotAffected, catalog.FixedOnDisk, catalog.FixedInMemory, catalog.Exposed, catalog.Undetermined} {
		gauge(descCVEs, float64(s.Counts[string(x)]), string(x))
	}
	due := map[[2]string]int{}
	for _, d := range s.Due {
		due[[2]string{string(d.Action), string(d.Blocked)}]++
	}
	for k, n := range due {
		gauge(descDue, float64(n), k[0], k[1])
	}
	if !s.At.IsZero() {
		gauge(descAssessed, float64(s.At.Unix()))
	}
	expires := 0.0
	if !s.Repository.Expires.IsZero() {
		expires = float64(s.Repository.Expires.Unix())
	}
	gauge(descCatalog, expires)
	up := 1.0
	if s.Repository.Error != "" || s.Repository.Fetched.IsZero() {
		up = 0
	}
	gauge(descRepo, up)
	gauge(descSoak, float64(s.Watched))
	gauge(descBars, float64(len(s.Bars)))
	runs, err := c.a.journal.CountRuns()
	if err != nil {
		ch <- prometheus.NewInvalidMetric(descRuns, err)
		return
	}
	for state, n := range runs {
		ch <- prometheus.MustNewConstMetric(descRuns, prometheus.CounterValue, float64(n), state)
	}
}
