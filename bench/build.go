package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// pair is a package with a pending security update and the image in it that is
// measured.
type pair struct{ name, pkg, image string }

func pairs() []pair {
	return []pair{
		{"libcrypto", "libssl3", "usr/lib/x86_64-linux-gnu/libcrypto.so.3"},
		{"haproxy", "haproxy", "usr/sbin/haproxy"},
	}
}

const buildRepeat = 5

// builds measures building, on all cores and on one.
func (b *bench) builds(ctx context.Context) error {
	fmt.Fprintf(b.out, "\n| image | versions | text | functions | verdict | build, all cores | build, one core | peak memory |\n|---|---|---|---|---|---|---|---|\n")
	for _, p := range pairs() {
		if err := b.buildPair(ctx, p); err != nil {
			fmt.Fprintf(b.out, "| %s | not measured: %v |\n", p.name, err)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	fmt.Fprintf(b.out, "\nMedian of %d runs from process start to exit, files in the page cache; peak memory is the largest of all runs.\n", buildRepeat)
	return nil
}

func (b *bench) buildPair(ctx context.Context, p pair) error {
	versions, err := offers(ctx, p.pkg)
	if err != nil {
		return err
	}
	var files [2]string
	for i, v := range versions {
		if files[i], err = b.unpack(ctx, p, v); err != nil {
			return err
		}
	}
	all, verdict, peak, err := b.buildTimes(ctx, files, nil)
	if err != nil {
		return err
	}
	one, _, peakOne, err := b.buildTimes(ctx, files, []string{"GOMAXPROCS=1"})
	if err != nil {
		return err
	}
	text, err := textSize(files[0])
	if err != nil {
		return err
	}
	c := verdict.counts()
	fmt.Fprintf(b.out, "| %s | %s → %s | %.1f MB | %d same, %d changed | %s | %.2f s | %.2f s | %d MB |\n",
		p.name, versions[0], versions[1], float64(text)/1e6, c.Same, c.Changed, verdict.Verdict,
		all.Seconds(), one.Seconds(), max(peak, peakOne)/1e6)
	return nil
}

// report is what we need of `build --json`.
type report struct {
	Verdict string `json:"verdict"`
	Images  []struct {
		Counts counts `json:"counts"`
	} `json:"images"`
}

type counts struct {
	Same    int `json:"same"`
	Changed int `json:"changed"`
}

func (r report) counts() counts {
	if len(r.Images) == 0 {
		return counts{}
	}
	return r.Images[0].Counts
}

func (b *bench) buildTimes(ctx context.Context, files [2]string, env []string) (median time.Duration, v report, peak int64, err error) {
	var times []time.Duration
	for range buildRepeat {
		r, err := b.exec(ctx, env, []int{0, 3, 4}, "build", files[0], files[1], "-o", filepath.Join(b.dir, "x.hotpatch"), "--json")
		if err != nil {
			return 0, v, 0, err
		}
		if err := json.Unmarshal(r.stdout, &v); err != nil {
			return 0, v, 0, fmt.Errorf("read report: %w", err)
		}
		times = append(times, r.took)
		peak = max(peak, r.peak)
	}
	return percentile(sorted(times), 50), v, peak, nil
}

// offers are the two newest versions that apt knows, older first: what is
// installed before the pending update, and the update.
func offers(ctx context.Context, pkg string) ([2]string, error) {
	out, err := exec.CommandContext(ctx, "apt-cache", "madison", pkg).Output()
	if err != nil {
		return [2]string{}, fmt.Errorf("ask apt for %s: %w", pkg, err)
	}
	var versions []string
	for line := range strings.Lines(string(out)) {
		if cells := strings.Split(line, "|"); len(cells) == 3 {
			if v := strings.TrimSpace(cells[1]); !slices.Contains(versions, v) {
				versions = append(versions, v)
			}
		}
	}
	if len(versions) < 2 {
		return [2]string{}, fmt.Errorf("apt offers %d versions of %s, two are needed (apt-get update?)", len(versions), pkg)
	}
	return [2]string{versions[1], versions[0]}, nil
}

// unpack fetches a package unless it is there, and returns the image in it.
func (b *bench) unpack(ctx context.Context, p pair, version string) (string, error) {
	if err := os.MkdirAll(b.cache, 0o755); err != nil {
		return "", err
	}
	deb := filepath.Join(b.cache, fmt.Sprintf("%s_%s_amd64.deb", p.pkg, strings.ReplaceAll(version, ":", "%3a")))
	if _, err := os.Stat(deb); err != nil {
		cmd := exec.CommandContext(ctx, "apt-get", "download", "-q", p.pkg+"="+version)
		cmd.Dir = b.cache
		if out, err := cmd.CombinedOutput(); err != nil {
			return "", fmt.Errorf("fetch %s=%s: %w: %s", p.pkg, version, err, strings.TrimSpace(string(out)))
		}
	}
	dir := filepath.Join(b.dir, p.name+"_"+version)
	if out, err := exec.CommandContext(ctx, "dpkg-deb", "-x", deb, dir).CombinedOutput(); err != nil {
		return "", fmt.Errorf("unpack %s: %w: %s", deb, err, out)
	}
	return filepath.Join(dir, p.image), nil
}
