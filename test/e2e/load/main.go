// Command load is the steady load of the end-to-end tests: it asks a server all
// the time, checks every answer, and fails if a single one was wrong.
//
//	load http URL...       each page must always be what it was the first time
//	load redis ADDR
//	load memcached ADDR
//
// They run until SIGTERM or SIGINT, then print what they saw. Exit 1 when a
// request failed, or none was sent.
//
//	load serve ADDR        an HTTP server, to stand behind a proxy
//	load get URL           one page
//	load wait ADDR         until someone listens there, at most 15 s
//	load port              a free port on loopback
package main

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch {
	case len(args) == 1 && args[0] == "port":
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		fmt.Println(l.Addr().(*net.TCPAddr).Port)
		return l.Close()
	case len(args) == 2 && args[0] == "wait":
		return wait(args[1], 15*time.Second)
	case len(args) == 2 && args[0] == "get":
		return newBrowser(0, nil).get(args[1], true)
	case len(args) == 2 && args[0] == "serve":
		return serve(args[1])
	case len(args) >= 2 && args[0] == "http":
		return steady("http", func(i int) (client, error) { return newBrowser(i, args[1:]), nil })
	case len(args) == 2 && args[0] == "redis":
		return steady("redis", func(i int) (client, error) { return dialRedis(args[1], i) })
	case len(args) == 2 && args[0] == "memcached":
		return steady("memcached", func(i int) (client, error) { return dialMemcached(args[1], i) })
	}
	return fmt.Errorf("usage: load http URL... | redis ADDR | memcached ADDR | serve ADDR | get URL | wait ADDR | port")
}

func wait(addr string, limit time.Duration) error {
	for end := time.Now().Add(limit); ; time.Sleep(30 * time.Millisecond) {
		c, err := net.DialTimeout("tcp", addr, time.Second)
		if err == nil {
			return c.Close()
		}
		if time.Now().After(end) {
			return err
		}
	}
}

func serve(addr string) error {
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/large" {
			fmt.Fprint(w, strings.Repeat("the same line all over again\n", 5000))
			return
		}
		fmt.Fprintf(w, "you asked for %s\n", r.URL.Path)
	})
	return http.ListenAndServe(addr, nil)
}

const (
	clients  = 4
	pace     = time.Millisecond // between two rounds of a client
	patience = 10 * time.Second // for one answer
)

// client does one round of requests and returns how many they were.
type client interface {
	round() (int, error)
	close()
}

// steady lets clients work until a signal comes.
func steady(what string, open func(i int) (client, error)) error {
	quit := make(chan struct{})
	var (
		ended    sync.WaitGroup
		mu       sync.Mutex
		requests int
		failed   int
		longest  time.Duration
	)
	for i := range clients {
		c, err := open(i)
		if err != nil {
			return err
		}
		ended.Go(func() {
			defer func() { c.close() }()
			for {
				select {
				case <-quit:
					return
				case <-time.After(pace):
				}
				sent := time.Now()
				n, err := c.round()
				took := time.Since(sent)
				mu.Lock()
				requests += n
				longest = max(longest, took)
				if err != nil {
					failed += n
					fmt.Fprintf(os.Stderr, "%s client %d, round of %d requests: %v\n", sent.Format("15:04:05.000"), i, n, err)
				}
				many := failed > 1000
				mu.Unlock()
				if many {
					return // enough is known
				}
				if err != nil {
					c.close()
					if again, err := open(i); err == nil {
						c = again
					}
					time.Sleep(20 * time.Millisecond)
				}
			}
		})
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	began := time.Now()
	<-stop
	close(quit)
	ended.Wait()
	fmt.Printf("%s: %d requests in %.1f s, %d failed, longest wait %.1f ms\n",
		what, requests, time.Since(began).Seconds(), failed, longest.Seconds()*1000)
	if failed > 0 || requests == 0 {
		return fmt.Errorf("%d of %d requests failed", failed, requests)
	}
	return nil
}
