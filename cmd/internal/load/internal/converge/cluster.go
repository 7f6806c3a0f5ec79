package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"starling/cmd/internal/load/internal/lab"
)

// cluster is a local cluster, by way of its script. Node i of n is number i+1
// to the script.
type cluster struct {
	script    *lab.Cluster
	settings  []string // of every node, at each of its starts
	endpoints []string
	http      *http.Client
}

const (
	workers     = 32 // that put and get at a time
	bucket      = "/v1/buckets/converge/keys/"
	maxAnswer   = 64 << 20
	retries     = 50
	retryPause  = 100 * time.Millisecond
	pollPause   = time.Second
	convergence = 5 * time.Minute // that is waited for at most
)

// up starts n nodes.
func up(ctx context.Context, script string, n int, settings ...string) (*cluster, error) {
	c := &cluster{script: lab.At(script), settings: settings, http: &http.Client{
		Timeout: 30 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: workers},
	}}
	out, err := c.script.Call(ctx, settings, "up", strconv.Itoa(n))
	c.endpoints = strings.Fields(out)
	if err == nil && len(c.endpoints) != n {
		err = fmt.Errorf("%d nodes are up, want %d", len(c.endpoints), n)
	}
	return c, err
}

// node calls a verb for node i.
func (c *cluster) node(ctx context.Context, verb string, i int) error {
	return c.script.Node(ctx, verb, i+1, c.settings...)
}

// answered is an answer, read to its end.
type answered struct {
	status  int
	context string
	body    []byte
}

// ask sends one request to node i and wants a status below 300.
func (c *cluster) ask(ctx context.Context, method string, i int, path, value, token string) (answered, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.endpoints[i]+path, strings.NewReader(value))
	if err != nil {
		return answered{}, err
	}
	if token != "" {
		req.Header.Set("X-Starling-Context", token)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return answered{}, err
	}
	defer func() { _ = resp.Body.Close() }() // only read from
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err == nil && resp.StatusCode >= 300 {
		err = fmt.Errorf("%s %s at n%d: status %d: %.300s", method, path, i+1, resp.StatusCode, body)
	}
	return answered{resp.StatusCode, resp.Header.Get("X-Starling-Context"), body}, err
}

// put writes a key; a refusal for want of room is no failure for some time.
func (c *cluster) put(ctx context.Context, i int, key, value, token string) (err error) {
	for range retries {
		var a answered
		if a, err = c.ask(ctx, http.MethodPut, i, bucket+key, value, token); a.status != http.StatusServiceUnavailable {
			return err
		}
		if err := await(ctx, retryPause); err != nil {
			return err
		}
	}
	return err
}

// overwrite writes a key in place of what node i reads of it.
func (c *cluster) overwrite(ctx context.Context, i int, key, value string) error {
	old, err := c.ask(ctx, http.MethodGet, i, bucket+key, "", "")
	if err != nil {
		return err
	}
	return c.put(ctx, i, key, value, old.context)
}

// owned says whether node i is an owner of a key.
func (c *cluster) owned(ctx context.Context, i int, key string) (bool, error) {
	a, err := c.ask(ctx, http.MethodGet, i, "/v1/ring/converge/"+key, "", "")
	if err != nil {
		return false, err
	}
	var placement struct{ Owners []string }
	err = json.Unmarshal(a.body, &placement)
	for _, name := range placement.Owners {
		if name == fmt.Sprint("n", i+1) {
			return true, err
		}
	}
	return false, err
}

// meter is the part of the answer of /v1/convergence that is looked at.
type meter struct {
	Converged   bool
	PairsTotal  int `json:"pairs_total"`
	Stale       int
	Unreachable []string
}

func (c *cluster) meter(ctx context.Context, i int) (m meter, err error) {
	a, err := c.ask(ctx, http.MethodGet, i, "/v1/convergence?pairs=false", "", "")
	if err == nil {
		err = json.Unmarshal(a.body, &m)
	}
	return m, err
}

// keyName and valueOf are the keys and their values: each key has its own, of
// so many bytes.
func keyName(k int) string { return fmt.Sprintf("key%08d", k) }

func valueOf(key, text string, bytes int) string {
	value := fmt.Sprintf("%s of %s ", text, key)
	return (value + strings.Repeat(".", max(0, bytes-len(value))))[:bytes]
}

// load puts keys 0 to n-1 through all nodes.
func (c *cluster) load(ctx context.Context, n, valueBytes int) error {
	lab.Say("putting %d keys of %d bytes", n, valueBytes)
	start := time.Now()
	err := each(ctx, n, func(ctx context.Context, k int) error {
		key := keyName(k)
		return c.put(ctx, k%len(c.endpoints), key, valueOf(key, "old", valueBytes), "")
	})
	if err == nil {
		lab.Say("that took %.1f s", time.Since(start).Seconds())
	}
	return err
}

// each calls one for 0 to n-1, some at a time, until one of them fails.
func each(ctx context.Context, n int, one func(ctx context.Context, k int) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next atomic.Int64
	var all sync.WaitGroup
	for range workers {
		all.Go(func() {
			for ctx.Err() == nil {
				k := int(next.Add(1)) - 1
				if k >= n {
					return
				}
				if err := one(ctx, k); err != nil {
					cancel(err)
				}
			}
		})
	}
	all.Wait()
	return context.Cause(ctx)
}

// await waits for a time, or for the end of ctx.
func await(ctx context.Context, d time.Duration) error { return lab.Await(ctx, time.Now().Add(d)) }
