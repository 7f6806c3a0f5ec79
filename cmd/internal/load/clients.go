package load

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// ClientOptions configure [Clients].
type ClientOptions struct {
	// Endpoints are "http://host:port" or "host:port", one or more. Client i
	// is at home at endpoint i modulo their number.
	Endpoints []string
	// Bucket is the bucket of all keys. Default "faults". No other writer may
	// use it.
	Bucket string
	// Clients is how many requests are under way at once. Default 32.
	Clients int
	// KeysEach is how many keys each client has for itself at a time. Default
	// 32.
	KeysEach int
	// ValueBytes is the size of each value. Default 256, at least 64.
	ValueBytes int
	// Timeout is the timeout that requests ask for; a client waits a little
	// longer for the answer. Default 2 s.
	Timeout time.Duration
	// Consistency is the level of all requests. Default "quorum".
	Consistency string
	// Strict forbids nodes that stand in for owners (sloppy=false).
	Strict bool
	// Seed decides what is drawn.
	Seed uint64
}

const (
	maxClients      = 1024
	maxKeysEach     = 100_000
	minClientBytes  = 64
	clientPatience  = 200 * time.Millisecond // beyond the timeout that was asked for
	maxFailureNotes = 200
	maxGenerations  = 1000 // of keys
	maxEndpoints    = 255
	fillTries       = 5
)

func (o ClientOptions) withDefaults() (ClientOptions, error) {
	for _, n := range []struct {
		name            string
		value           *int
		def, low, bound int
	}{
		{"clients", &o.Clients, 32, 1, maxClients},
		{"keys for each client", &o.KeysEach, 32, 1, maxKeysEach},
		{"value bytes", &o.ValueBytes, 256, minClientBytes, maxValueBytes},
	} {
		if *n.value == 0 {
			*n.value = n.def
		}
		if *n.value < n.low || *n.value > n.bound {
			return o, fmt.Errorf("load: %d %s; %d to %d are allowed", *n.value, n.name, n.low, n.bound)
		}
	}
	if o.Bucket == "" {
		o.Bucket = "faults"
	}
	if o.Timeout == 0 {
		o.Timeout = 2 * time.Second
	}
	if o.Consistency == "" {
		o.Consistency = "quorum"
	}
	if o.Timeout < 0 {
		return o, fmt.Errorf("load: a timeout of %v", o.Timeout)
	}
	if n := len(o.Endpoints); n == 0 || n > maxEndpoints {
		return o, fmt.Errorf("load: the clients have %d endpoints; 1 to %d are allowed", n, maxEndpoints)
	}
	return o, nil
}

// Clients are a closed loop of writers and readers that outlives faults of
// the servers: see "Faults" in the package's documentation.
type Clients struct {
	opts      ClientOptions
	endpoints []string // without a slash at the end
	query     string
	epoch     time.Time
	clients   []*client
	// homeward counts the calls of GoHome, generation those of FreshKeys.
	homeward, generation atomic.Int64
	done                 atomic.Int64 // requests

	mu    sync.Mutex
	notes []string // of the first failures
}

// NewClients checks the options. It sends nothing.
func NewClients(o ClientOptions) (*Clients, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	c := &Clients{
		opts: o, epoch: time.Now(),
	}
	query := url.Values{"consistency": {o.Consistency}, "timeout": {o.Timeout.String()}}
	if o.Strict {
		query.Set("sloppy", "false")
	}
	c.query = query.Encode()
	for _, s := range o.Endpoints {
		text := s
		if !strings.Contains(text, "://") {
			text = "http://" + text
		}
		u, err := url.Parse(text)
		if err != nil || u.Hostname() == "" {
			return nil, fmt.Errorf("load: endpoint %q: wanted http://host:port", s)
		}
		c.endpoints = append(c.endpoints, u.Scheme+"://"+u.Host)
	}
	for i := range o.Clients {
		c.clients = append(c.clients, &client{
			all: c, index: i, home: i % len(c.endpoints), at: i % len(c.endpoints),
			rng: rand.New(rand.NewPCG(o.Seed, uint64(i))),
			transport: &http.Transport{
				DialContext:         (&net.Dialer{Timeout: o.Timeout}).DialContext,
				MaxIdleConnsPerHost: 1,
				DisableCompression:  true,
			},
		})
	}
	return c, nil
}

// Run drives the clients until ctx ends, then lets the requests under way be
// answered. It may be repeated, one at a time: the clients know what they
// wrote before. A client ends early once it has recorded a million requests.
func (c *Clients) Run(ctx context.Context) {
	var wg sync.WaitGroup
	for _, cl := range c.clients {
		wg.Go(func() { cl.run(ctx) })
	}
	wg.Wait()
}

// Fill writes every key that has no acknowledged put yet, without recording the
// requests. It fails with the first put that fails [fillTries] times in a row.
func (c *Clients) Fill(ctx context.Context) error {
	var wg sync.WaitGroup
	errs := make([]error, len(c.clients))
	for i, cl := range c.clients {
		wg.Go(func() { errs[i] = cl.fill(ctx) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// Close lets go of idle connections.
func (c *Clients) Close() {
	for _, cl := range c.clients {
		cl.transport.CloseIdleConnections()
	}
}

// GoHome sends every client back to its own endpoint, from where failures
// drove it away. It may be called during a Run.
func (c *Clients) GoHome() { c.homeward.Add(1) }

// FreshKeys gives every client other keys, which nobody has written, at most
// 1,000 times. The earlier ones stay as they are, so that what was written
// during a fault is not hidden by later writes. It may be called during a Run.
func (c *Clients) FreshKeys() {
	if c.generation.Add(1) >= maxGenerations {
		panic("load: fresh keys without end")
	}
}

// Done counts the requests that have ended. It may be called during a Run.
func (c *Clients) Done() int64 { return c.done.Load() }

// Trace has all requests of the Runs that have ended.
func (c *Clients) Trace() Trace {
	t := Trace{Epoch: c.epoch}
	for _, cl := range c.clients {
		t.Requests = append(t.Requests, cl.requests...)
	}
	return t
}

// Failures describes the first failures, 200 at most.
func (c *Clients) Failures() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]string(nil), c.notes...)
}

func (c *Clients) note(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.notes) < maxFailureNotes {
		c.notes = append(c.notes, time.Now().Format("15:04:05.000 ")+fmt.Sprintf(format, args...))
	}
}

// keyName is the name of a client's key by its number among those of the
// client.
func keyName(client, key int) string { return fmt.Sprintf("client-%d-key-%d", client, key) }

func (c *Clients) keyURL(endpoint, key string) string {
	return endpoint + "/v1/buckets/" + c.opts.Bucket + "/keys/" + key
}
