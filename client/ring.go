package client

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/bits"
	"net"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// ringRetry is the pause after a refresh that failed, and the least
	// between two refreshes however many requests ask for one.
	ringRetry = time.Second
	// ringTries is how many nodes one refresh asks.
	ringTries = 3
	// Bounds of a ring that is believed.
	maxRingBytes   = 64 << 20
	maxPartitions  = 65536
	maxRingMembers = 4096
	maxRingOwners  = 16
	ringHash       = "xxh64"
)

// ringDocument is the answer of GET /v1/ring, as far as routing needs it.
type ringDocument struct {
	Partitions int        `json:"partitions"`
	Hash       string     `json:"hash"`
	Members    []member   `json:"members"`
	Owners     [][]uint16 `json:"owners"`
}

type member struct {
	HTTP  string `json:"http"`
	Alive bool   `json:"alive"`
}

// check refuses a ring that this client would misread.
func (d *ringDocument) check() error {
	switch {
	case d.Hash != ringHash:
		return fmt.Errorf("client: the ring's hash is %q; this client knows %s", d.Hash, ringHash)
	case d.Partitions < 1 || d.Partitions > maxPartitions || bits.OnesCount(uint(d.Partitions)) != 1:
		return fmt.Errorf("client: a ring of %d partitions", d.Partitions)
	case len(d.Owners) != d.Partitions:
		return fmt.Errorf("client: a ring of %d partitions lists owners of %d", d.Partitions, len(d.Owners))
	case len(d.Members) > maxRingMembers:
		return fmt.Errorf("client: a ring of %d members", len(d.Members))
	}
	for p, owners := range d.Owners {
		if len(owners) > maxRingOwners {
			return fmt.Errorf("client: partition %d has %d owners", p, len(owners))
		}
		for _, i := range owners {
			if int(i) >= len(d.Members) {
				return fmt.Errorf("client: partition %d has owner %d of %d members", p, i, len(d.Members))
			}
		}
	}
	return nil
}

// refresher keeps the routes up to date. At most one refresh runs at a time,
// on a goroutine that close waits for.
type refresher struct {
	next    atomic.Int64 // when a request starts the next refresh, since the client's start
	mu      sync.Mutex
	running bool
	closed  bool
	wg      sync.WaitGroup
	// etag is of the last ring, and empty where that ring showed an owner as
	// not alive: liveness has no part in the tag, so only a whole answer tells
	// that the owner is back. Only the running refresh touches it.
	etag string
}

// refresh starts a refresh of the ring if one is due. It never waits.
func (c *Client) refresh() {
	if c.opts.DisableRing || int64(c.now()) < c.ring.next.Load() {
		return
	}
	c.ring.mu.Lock()
	defer c.ring.mu.Unlock()
	if c.ring.running || c.ring.closed {
		return
	}
	c.ring.running = true
	c.ring.wg.Go(func() {
		pause := c.opts.RingRefresh
		if err := c.fetchRing(); err != nil {
			pause = min(pause, ringRetry)
			c.opts.Logger.Debug("ring not refreshed", "err", err)
		}
		c.ring.next.Store(int64(c.now() + pause))
		c.ring.mu.Lock()
		c.ring.running = false
		c.ring.mu.Unlock()
	})
}

// suspect makes the next refresh due soon: a node did not answer, so the ring
// may say by now who is alive.
func (c *Client) suspect() {
	soon := int64(c.now() + ringRetry)
	for {
		next := c.ring.next.Load()
		if next <= soon || c.ring.next.CompareAndSwap(next, soon) {
			return
		}
	}
}

// fetchRing asks a few nodes for the ring until one answers.
func (c *Client) fetchRing() error {
	var tried []*endpoint
	var err error
	for range ringTries {
		e, fresh := (&routes{all: c.routes.Load().all}).pick(0, c.turn.Add(1), false, tried, c.now())
		if len(tried) > 0 && !fresh {
			break
		}
		tried = append(tried, e)
		if err = c.fetchRingFrom(e); err == nil {
			return nil
		}
	}
	return err
}

func (c *Client) fetchRingFrom(e *endpoint) error {
	ctx, cancel := context.WithTimeout(c.life, c.opts.AttemptTimeout)
	defer cancel()
	u := e.url
	u.Path = "/v1/ring"
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return err
	}
	if c.ring.etag != "" {
		req.Header.Set("If-None-Match", c.ring.etag)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		e.failed(c.now())
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	e.answered()
	switch resp.StatusCode {
	case http.StatusNotModified:
		return nil
	case http.StatusOK:
	default:
		return fmt.Errorf("client: GET /v1/ring answered %s", resp.Status)
	}
	body, err := readBody(resp, maxRingBytes)
	if err != nil {
		return err
	}
	var doc ringDocument
	if err := json.Unmarshal(body, &doc); err != nil {
		return fmt.Errorf("client: ring: %w", err)
	}
	if err := doc.check(); err != nil {
		return err
	}
	c.ring.etag = ""
	if c.adopt(&doc, e.url.Scheme) {
		c.ring.etag = resp.Header.Get("Etag")
	}
	return nil
}

// adopt makes routes of a ring. Endpoints that are known already are kept with
// what was seen of them; those that left the ring are forgotten. It reports
// whether every owner can be asked.
func (c *Client) adopt(doc *ringDocument, scheme string) (whole bool) {
	known := make(map[string]*endpoint)
	old := c.routes.Load()
	for _, e := range old.all {
		known[e.url.Host] = e
	}
	r := &routes{
		all:     append([]*endpoint(nil), c.configured...),
		members: make([]*endpoint, len(doc.Members)),
		owners:  doc.Owners,
		shift:   uint(64 - bits.TrailingZeros(uint(doc.Partitions))),
	}
	for i, m := range doc.Members {
		if host, _, err := net.SplitHostPort(m.HTTP); err != nil || host == "" || !m.Alive {
			continue
		}
		e := known[m.HTTP]
		if e == nil {
			e = &endpoint{url: url.URL{Scheme: scheme, Host: m.HTTP}}
			known[m.HTTP] = e
		}
		r.members[i] = e
		if !contains(r.all, e) {
			r.all = append(r.all, e)
		}
	}
	c.routes.Store(r)
	for _, owners := range doc.Owners {
		for _, i := range owners {
			if r.members[i] == nil {
				return false
			}
		}
	}
	return true
}

// readBody reads an answer's body up to a bound.
func readBody(resp *http.Response, bound int64) ([]byte, error) {
	n := resp.ContentLength
	if n > bound {
		return nil, fmt.Errorf("%w: %d bytes; the bound is %d", ErrTooLarge, n, bound)
	}
	if n >= 0 {
		b := make([]byte, n)
		_, err := io.ReadFull(resp.Body, b)
		return b, err
	}
	b, err := io.ReadAll(io.LimitReader(resp.Body, bound+1))
	if err == nil && int64(len(b)) > bound {
		err = fmt.Errorf("%w: more than %d bytes", ErrTooLarge, bound)
	}
	return b, err
}
