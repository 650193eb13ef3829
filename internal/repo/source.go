package repo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// source hands out the files of a repository, unverified. Names are slash
// separated, relative, and made of checked parts.
type source interface {
	// open is ErrNotFound when there is no such file. size is -1 when unknown,
	// and nothing to rely on.
	open(ctx context.Context, name string) (body io.ReadCloser, size int64, err error)
	String() string
}

// newSource takes an http, https or file URL, or a directory: the public half
// of a repository, or the whole.
func newSource(where string, stall time.Duration) (source, error) {
	if scheme, _, ok := strings.Cut(where, "://"); ok {
		u, err := url.Parse(where)
		if err != nil {
			return nil, fmt.Errorf("open repository: %w", err)
		}
		switch {
		case scheme == "file" && (u.Host == "" || u.Host == "localhost"):
			where = u.Path
		case (scheme == "http" || scheme == "https") && u.Host != "":
			return newWebSource(u, stall), nil
		default:
			return nil, fmt.Errorf("open repository %q: not a directory or an http, https or file URL", u.Redacted())
		}
	}
	return newDirSource(where)
}

// dirSource is a directory. Nothing outside of it is read, whatever links say.
// It is looked up by its name each time: publishing may put another in its place.
type dirSource struct{ dir string }

func newDirSource(dir string) (*dirSource, error) {
	if st, err := os.Stat(filepath.Join(dir, publicDir, metadataDir)); err == nil && st.IsDir() {
		dir = filepath.Join(dir, publicDir)
	}
	s := &dirSource{dir}
	root, err := s.root()
	if err != nil {
		return nil, err
	}
	return s, root.Close()
}

func (s *dirSource) String() string { return s.dir }

// root opens the directory. That it is not there is no ErrNotFound: then nothing
// is known of its files.
func (s *dirSource) root() (*os.Root, error) {
	root, err := os.OpenRoot(s.dir)
	if err != nil {
		return nil, fmt.Errorf("open repository: %w", err)
	}
	return root, nil
}

func (s *dirSource) open(_ context.Context, name string) (io.ReadCloser, int64, error) {
	root, err := s.root()
	if err != nil {
		return nil, 0, err
	}
	defer root.Close()
	// A pipe would hang before its first byte: look before opening.
	st, err := root.Stat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, 0, fmt.Errorf("open %s: %w", filepath.Join(s.dir, name), ErrNotFound)
	case err != nil:
		return nil, 0, err
	case !st.Mode().IsRegular():
		return nil, 0, fmt.Errorf("open %s: not a regular file", filepath.Join(s.dir, name))
	}
	f, err := root.Open(name)
	if err != nil {
		return nil, 0, err
	}
	return f, st.Size(), nil
}

// DefaultStall is how long a download may go without progress.
const DefaultStall = 30 * time.Second

// pace is the least that must arrive within one stall period: a server that
// sends a byte now and then makes no progress either (TUF: slow retrieval).
const pace = 4 << 10

// webSource is a web server. Proxies are taken from the environment.
type webSource struct {
	base   *url.URL
	client *http.Client
	stall  time.Duration
}

func newWebSource(u *url.URL, stall time.Duration) *webSource {
	dialer := &net.Dialer{Timeout: stall, KeepAlive: 30 * time.Second}
	return &webSource{base: u, stall: stall, client: &http.Client{
		Transport: &http.Transport{
			Proxy:                  http.ProxyFromEnvironment,
			DialContext:            dialer.DialContext,
			TLSHandshakeTimeout:    stall,
			ResponseHeaderTimeout:  stall,
			IdleConnTimeout:        30 * time.Second,
			MaxIdleConnsPerHost:    2,
			MaxResponseHeaderBytes: 64 << 10,
			DisableCompression:     true, // lengths are those of the files
			ForceAttemptHTTP2:      true,
		},
		CheckRedirect: func(req *http.Request, via []*http.Request) error {
			switch {
			case len(via) >= 5:
				return errors.New("more than 5 redirects")
			case via[0].URL.Scheme == "https" && req.URL.Scheme != "https":
				return fmt.Errorf("redirected from https to %s", req.URL.Scheme)
			}
			return nil
		},
	}}
}

func (s *webSource) String() string { return s.base.Redacted() }

func (s *webSource) open(ctx context.Context, name string) (io.ReadCloser, int64, error) {
	where := s.base.JoinPath(name)
	ctx, cancel := context.WithCancelCause(ctx)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, where.String(), nil)
	if err != nil {
		cancel(nil)
		return nil, 0, fmt.Errorf("fetch %s: %w", where.Redacted(), err)
	}
	req.Header.Set("User-Agent", "hotpatch")
	if name == metadataDir+"/"+Timestamp+".json" {
		req.Header.Set("Cache-Control", "no-cache") // a proxy's old copy would look like a freeze
	}
	res, err := s.client.Do(req)
	if err != nil {
		cancel(nil)
		if t := net.Error(nil); errors.As(err, &t) && t.Timeout() {
			err = fmt.Errorf("%w within %s: %w", ErrSlow, s.stall, err)
		}
		return nil, 0, fmt.Errorf("fetch: %w", err) // a url.Error names the URL
	}
	switch res.StatusCode {
	case http.StatusOK:
		return newPaced(ctx, res.Body, where.Redacted(), s.stall, cancel), res.ContentLength, nil
	case http.StatusNotFound, http.StatusGone, http.StatusForbidden:
		// Object stores say 403 for a missing object that may not be listed.
		err = fmt.Errorf("fetch %s: %s: %w", where.Redacted(), res.Status, ErrNotFound)
	default:
		err = fmt.Errorf("fetch %s: %s", where.Redacted(), res.Status)
	}
	_ = res.Body.Close() // nothing of it is wanted
	cancel(nil)
	return nil, 0, err
}

// paced ends a download that makes no progress.
type paced struct {
	ctx    context.Context
	body   io.ReadCloser
	name   string
	stall  time.Duration
	cancel context.CancelCauseFunc

	mu    sync.Mutex
	timer *time.Timer
	got   int // bytes since the timer was set
}

func newPaced(ctx context.Context, body io.ReadCloser, name string, stall time.Duration, cancel context.CancelCauseFunc) *paced {
	p := &paced{ctx: ctx, body: body, name: name, stall: stall, cancel: cancel}
	p.timer = time.AfterFunc(stall, func() {
		cancel(fmt.Errorf("%w: less than %d bytes in %s", ErrSlow, pace, stall))
	})
	return p
}

func (p *paced) Read(b []byte) (int, error) {
	n, err := p.body.Read(b)
	p.mu.Lock()
	if p.got += n; p.got >= pace {
		p.got = 0
		p.timer.Reset(p.stall)
	}
	p.mu.Unlock()
	if err != nil && err != io.EOF {
		if cause := context.Cause(p.ctx); cause != nil {
			err = cause
		}
		err = fmt.Errorf("fetch %s: %w", p.name, err)
	}
	return n, err
}

func (p *paced) Close() error {
	p.timer.Stop()
	err := p.body.Close()
	p.cancel(nil)
	return err
}

// fetchBytes reads a whole small file of a source.
func fetchBytes(ctx context.Context, s source, name string, limit int64) ([]byte, error) {
	body, size, err := s.open(ctx, name)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	if size > limit {
		return nil, fmt.Errorf("%s/%s: %w: %d bytes announced, at most %d", s, name, ErrTooLarge, size, limit)
	}
	data, err := readBounded(body, limit)
	if err != nil {
		return nil, fmt.Errorf("%s/%s: %w", s, name, err)
	}
	return data, nil
}
