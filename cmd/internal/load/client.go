package load

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"time"
)

// client is one of [Clients]. Its goroutine alone uses it during a Run.
type client struct {
	all       *Clients
	transport *http.Transport
	rng       *rand.Rand
	index     int // among the clients
	home, at  int // endpoints
	homeward  int64
	keys      []history // of all generations; the last KeysEach are in use
	requests  []Request
	failures  int // in a row
}

// maxRequestsEach bounds what a client records of all its Runs.
const maxRequestsEach = 1 << 20

// run sends one request after the other.
func (c *client) run(ctx context.Context) {
	for ctx.Err() == nil && len(c.requests) < maxRequestsEach {
		c.pause(ctx)
		c.follow()
		k := len(c.keys) - 1 - c.rng.IntN(c.all.opts.KeysEach)
		c.one(k, c.rng.IntN(2) == 0)
	}
}

// fill writes each key that has nothing yet.
func (c *client) fill(ctx context.Context) error {
	c.follow()
	for k := range c.keys {
		for try := 1; c.keys[k].acked == 0; try++ {
			var r Request
			err := c.put(k, &r)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err != nil && try == fillTries {
				return err
			}
			if err != nil {
				c.failures++
				c.pause(ctx)
			}
		}
		c.failures = 0
	}
	return nil
}

// follow does what GoHome and FreshKeys asked for.
func (c *client) follow() {
	if n := c.all.homeward.Load(); n != c.homeward {
		c.homeward, c.at = n, c.home
	}
	if wanted := int(c.all.generation.Load()+1) * c.all.opts.KeysEach; len(c.keys) < wanted {
		c.keys = append(c.keys, make([]history, wanted-len(c.keys))...)
	}
}

// one does a get, or a put, which is what a key needs first, and records it.
func (c *client) one(k int, put bool) {
	put = put || c.keys[k].acked == 0
	r := Request{Start: time.Since(c.all.epoch), Put: put}
	var err error
	if put {
		err = c.put(k, &r)
	} else {
		err = c.get(k, &r)
	}
	r.Took = time.Since(c.all.epoch) - r.Start
	if err != nil {
		r.Failed = true
		c.failures++
		c.all.note("%v after %v: %v", c.all.endpoints[r.Endpoint], r.Took.Round(time.Millisecond), err)
		c.at = (int(r.Endpoint) + 1) % len(c.all.endpoints)
	} else {
		c.failures = 0
	}
	c.requests = append(c.requests, r)
	c.all.done.Add(1)
}

// pause keeps a client whose requests fail at once from hammering. It is no
// more than 100 ms.
func (c *client) pause(ctx context.Context) {
	if c.failures < 2 {
		return
	}
	t := time.NewTimer(min(time.Millisecond<<min(c.failures, 7), 100*time.Millisecond))
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// put writes the key's next value over the last one.
func (c *client) put(k int, r *Request) error {
	h := &c.keys[k]
	number := h.begin()
	value := valueOf(keyName(c.index, k), number, c.all.opts.ValueBytes)
	a, err := c.send(http.MethodPut, keyName(c.index, k), value, h.token, r)
	if err != nil {
		return err
	}
	if !good(a.status) {
		if a.refused() {
			h.refuse(number)
		}
		return fmt.Errorf("PUT %s: %w", keyName(c.index, k), a.asError())
	}
	h.ack(number, a.context)
	return nil
}

// get reads the key and learns from what it sees.
func (c *client) get(k int, r *Request) error {
	h := &c.keys[k]
	a, err := c.send(http.MethodGet, keyName(c.index, k), nil, "", r)
	if err != nil {
		return err
	}
	if !good(a.status) && a.status != http.StatusNotFound {
		return fmt.Errorf("GET %s: %w", keyName(c.index, k), a.asError())
	}
	values, err := a.values()
	if err != nil {
		return err
	}
	numbers, err := numbersOf(keyName(c.index, k), values, c.all.opts.ValueBytes)
	if err != nil {
		return fmt.Errorf("GET %s: %w", keyName(c.index, k), err)
	}
	r.Stale = h.saw(numbers, a.context)
	return nil
}

// heard is an answer, read to its end.
type heard struct {
	status  int
	context string
	body    []byte
}

// asError describes an answer that is not what was asked for.
func (a *heard) asError() error {
	return fmt.Errorf("status %d: %s", a.status, bytes.TrimSpace(a.body[:min(len(a.body), 500)]))
}

// refused tells whether the answer promises that the put left nothing behind.
func (a *heard) refused() bool {
	var p struct {
		MaybeApplied *bool `json:"maybe_applied"`
	}
	return json.Unmarshal(a.body, &p) == nil && p.MaybeApplied != nil && !*p.MaybeApplied
}

// values are those that a get answered: none, one, or siblings.
func (a *heard) values() ([]string, error) {
	switch a.status {
	case http.StatusOK:
		return []string{string(a.body)}, nil
	case http.StatusMultipleChoices:
		var doc struct {
			Siblings []struct{ Value string }
		}
		if err := json.Unmarshal(a.body, &doc); err != nil {
			return nil, fmt.Errorf("siblings: %w", err)
		}
		values := make([]string, len(doc.Siblings))
		for i, s := range doc.Siblings {
			values[i] = s.Value
		}
		return values, nil
	default:
		return nil, nil
	}
}

// send does one request. An endpoint that refuses the connection is passed
// over; what happens once something may have been sent is final.
func (c *client) send(method, key string, value []byte, token string, r *Request) (heard, error) {
	// It outlives the Run's context: its end is no failure of the server.
	ctx, cancel := context.WithTimeout(context.Background(), c.all.opts.Timeout+clientPatience)
	defer cancel()
	for refused := 0; ; refused++ {
		r.Endpoint = uint8(c.at)
		a, err := c.ask(ctx, method, c.all.keyURL(c.all.endpoints[c.at], key), value, token)
		if errors.Is(err, syscall.ECONNREFUSED) && refused+1 < len(c.all.endpoints) {
			c.at = (c.at + 1) % len(c.all.endpoints)
			r.Moved = true
			continue
		}
		r.Status = uint16(a.status)
		if err != nil {
			err = fmt.Errorf("%s %s: %w", method, key, err)
		}
		return a, err
	}
}

// ask sends a request to one endpoint and reads the answer.
func (c *client) ask(ctx context.Context, method, target string, value []byte, token string) (heard, error) {
	req, err := http.NewRequestWithContext(ctx, method, target+"?"+c.all.query, bytes.NewReader(value))
	if err != nil {
		return heard{}, err
	}
	if method == http.MethodPut {
		req.Header.Set("Content-Type", "text/plain")
		if token != "" {
			req.Header.Set(headerContext, token)
		}
	}
	req.Header.Set("Accept", "*/*, application/json")
	return exchange(c.transport, req)
}

// maxAnswerBytes bounds an answer: a key's siblings in JSON.
const maxAnswerBytes = 64 << 20

// exchange sends a request and reads the answer to its end.
func exchange(transport http.RoundTripper, req *http.Request) (heard, error) {
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return heard{}, err
	}
	defer func() { _ = resp.Body.Close() }() // only read from
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswerBytes))
	if err != nil {
		return heard{}, err
	}
	return heard{status: resp.StatusCode, context: resp.Header.Get(headerContext), body: body}, nil
}

// valueOf is the value that a put of a key writes: it tells which one, and
// has so many bytes.
func valueOf(key string, number, size int) []byte {
	text := fmt.Appendf(make([]byte, 0, size), "%s put %d ", key, number)
	return append(text, bytes.Repeat([]byte{'.'}, max(0, size-len(text)))...)
}

// numbersOf is the inverse of valueOf for all values of a key, in ascending
// order. A value that the key was never given is an error.
func numbersOf(key string, values []string, size int) ([]int, error) {
	numbers := make([]int, len(values))
	for i, v := range values {
		rest, ok := strings.CutPrefix(v, key+" put ")
		if _, err := fmt.Sscanf(rest, "%d", &numbers[i]); !ok || err != nil || v != string(valueOf(key, numbers[i], size)) {
			return nil, fmt.Errorf("a value that nobody wrote: %.80q", v)
		}
	}
	slices.Sort(numbers)
	return numbers, nil
}
