package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"time"
)

// browser fetches its pages in turn: three times over a kept connection, the
// fourth time over a new one; every other client takes compressed bodies.
type browser struct {
	c     *http.Client
	urls  []string
	first map[string][]byte
	n     int
}

func newBrowser(i int, urls []string) *browser {
	return &browser{
		c: &http.Client{
			Timeout:   patience,
			Transport: &http.Transport{DisableCompression: i%2 == 0, MaxIdleConnsPerHost: 2, IdleConnTimeout: 20 * time.Second},
		},
		urls: urls, first: map[string][]byte{},
	}
}

func (b *browser) close() { b.c.CloseIdleConnections() }

func (b *browser) round() (int, error) {
	b.n++
	for i, url := range b.urls {
		if err := b.get(url, b.n%4 == 0); err != nil {
			return i + 1, err
		}
	}
	return len(b.urls), nil
}

func (b *browser) get(url string, fresh bool) error {
	// When a kept connection breaks, net/http sends a GET again and tells
	// nobody. Here that is a failed request.
	sent := 0
	ctx := httptrace.WithClientTrace(context.Background(), &httptrace.ClientTrace{
		WroteRequest: func(httptrace.WroteRequestInfo) { sent++ },
	})
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return err
	}
	req.Close = fresh
	resp, err := b.c.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return fmt.Errorf("%s: %w", url, err)
	}
	if sent != 1 {
		return fmt.Errorf("%s: sent %d times: the connection broke", url, sent)
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: status %s", url, resp.Status)
	}
	want, seen := b.first[url]
	if !seen {
		b.first[url] = body
		return nil
	}
	if !bytes.Equal(body, want) {
		return fmt.Errorf("%s: %d bytes that differ from the %d of the first time", url, len(body), len(want))
	}
	return nil
}
