package load

import (
	"context"
	crand "crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Bounds of Options.
const (
	maxConnections = 4096
	maxRecords     = 100_000_000
	maxValueBytes  = 64 << 20
)

// Options configure a [Load].
type Options struct {
	Target Target
	// Connections is how many requests are under way at once. Default 32.
	Connections int
	// Records is the size of the key space. Default 10,000.
	Records int
	// ValueBytes is the size of each value. Default 1,024.
	ValueBytes int
	// Timeout bounds the wait for an answer. Default 10 s.
	Timeout time.Duration
	// Seed decides all that is drawn; two loads with equal options ask for
	// the same records on each connection.
	Seed uint64
}

func (o Options) withDefaults() (Options, error) {
	for _, n := range []struct {
		name       string
		value      *int
		def, bound int
	}{
		{"connections", &o.Connections, 32, maxConnections},
		{"records", &o.Records, 10_000, maxRecords},
		{"value bytes", &o.ValueBytes, 1024, maxValueBytes},
	} {
		if *n.value == 0 {
			*n.value = n.def
		}
		if *n.value < 1 || *n.value > n.bound {
			return o, fmt.Errorf("load: %d %s; 1 to %d are allowed", *n.value, n.name, n.bound)
		}
	}
	if o.Timeout == 0 {
		o.Timeout = 10 * time.Second
	}
	if o.Timeout < 0 {
		return o, fmt.Errorf("load: a timeout of %v", o.Timeout)
	}
	if len(o.Target.Endpoints) == 0 {
		return o, errors.New("load: the target has no endpoints")
	}
	if o.Target.Bucket == "" {
		o.Target.Bucket = "bench"
	}
	return o, nil
}

// Load is a set of connections to a target. It is not safe for concurrent
// use: one Fill or Run at a time. Close it.
type Load struct {
	opts  Options
	conns []*conn
	// pool is random bytes that values are cut from.
	pool []byte
	// contexts is the last context answered for each record; nil: none.
	contexts []atomic.Pointer[string]
	inserted *insertCounter
	runs     uint64 // runs begun: each draws differently
}

// New checks the options. It sends nothing.
func New(o Options) (*Load, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	l := &Load{
		opts:     o,
		pool:     make([]byte, o.ValueBytes+64<<10),
		contexts: make([]atomic.Pointer[string], o.Records),
		inserted: newInsertCounter(o.Records),
	}
	var seed [32]byte
	binary.LittleEndian.PutUint64(seed[:], o.Seed)
	_, _ = rand.NewChaCha8(seed).Read(l.pool) // it never fails
	var id [4]byte
	_, _ = crand.Read(id[:]) // it never fails
	for i := range o.Connections {
		c, err := newConn(&o, i, hex.EncodeToString(id[:]))
		if err != nil {
			return nil, err
		}
		l.conns = append(l.conns, c)
	}
	return l, nil
}

// Close lets go of the connections.
func (l *Load) Close() {
	for _, c := range l.conns {
		c.transport.CloseIdleConnections()
	}
}

// Progress is how far a Fill or a Run has come.
type Progress struct {
	// Done is the part that is done, 0 to 1.
	Done float64
	// Ops and Errors count since the start, warm-up included.
	Ops, Errors int64
	Elapsed     time.Duration
}

const progressInterval = 200 * time.Millisecond

// fillAttempts is how often Fill tries one record.
const fillAttempts = 10

// Fill makes sure that every record exists with a value of the wanted size,
// and learns the contexts. It reads each record and writes it where that is
// needed, so it may be repeated. progress may be nil.
func (l *Load) Fill(ctx context.Context, progress func(Progress)) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next, done atomic.Int64
	start := time.Now()
	l.each(ctx, func(i int, c *conn) {
		rng := rand.New(rand.NewPCG(l.opts.Seed, ^uint64(i)))
		for {
			record := int(next.Add(1)) - 1
			if record >= l.opts.Records || ctx.Err() != nil {
				return
			}
			if err := l.fill(c, record, rng); err != nil {
				cancel(err)
				return
			}
			done.Add(1)
		}
	}, func() {
		if progress != nil {
			n := done.Load()
			progress(Progress{Done: float64(n) / float64(l.opts.Records), Ops: n, Elapsed: time.Since(start)})
		}
	})
	return context.Cause(ctx)
}

func (l *Load) fill(c *conn, record int, rng *rand.Rand) (err error) {
	var r reply
	for attempt := range fillAttempts {
		c.failures = max(c.failures, attempt) // an error that was answered asks for a pause, too
		c.pause()
		if r, err = c.doGet(record); err != nil {
			continue
		}
		l.learn(record, r)
		if r.status == http.StatusOK && r.bytes == int64(l.opts.ValueBytes) {
			return nil
		}
		if !good(r.status) && r.status != http.StatusNotFound {
			continue
		}
		r, err = c.doPut(record, l.value(rng), l.context(record))
		if err == nil && good(r.status) {
			l.learn(record, r)
			return nil
		}
	}
	if err == nil {
		err = fmt.Errorf("status %d %s", r.status, http.StatusText(r.status))
	}
	return fmt.Errorf("load: filling %s: record %d: %w", l.opts.Target.Name, record, err)
}

// each runs f once for every connection and waits for all; tick is called now
// and then meanwhile, and once at the end.
func (l *Load) each(ctx context.Context, f func(i int, c *conn), tick func()) {
	var wg sync.WaitGroup
	for i, c := range l.conns {
		c.begin(ctx)
		wg.Go(func() { f(i, c) })
	}
	done := make(chan struct{})
	go func() {
		wg.Wait()
		close(done)
	}()
	ticker := time.NewTicker(progressInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			tick()
		case <-done:
			tick()
			return
		}
	}
}

// value cuts a value from the pool: each is different, none compresses.
func (l *Load) value(rng *rand.Rand) []byte {
	at := rng.IntN(len(l.pool) - l.opts.ValueBytes + 1)
	return l.pool[at : at+l.opts.ValueBytes]
}

// context is what the next put of a record supersedes.
func (l *Load) context(record int) string {
	if record < len(l.contexts) {
		if p := l.contexts[record].Load(); p != nil {
			return *p
		}
	}
	return ""
}

// learn keeps the context of an answer about a record.
func (l *Load) learn(record int, r reply) {
	if r.context != "" && record < len(l.contexts) {
		l.contexts[record].Store(&r.context)
	}
}
