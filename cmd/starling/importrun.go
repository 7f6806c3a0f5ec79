package main

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"os"
	"sync"
	"time"

	"starling/client"
)

const (
	// importShow and importKeep are how often progress is shown, and kept on
	// disk.
	importShow = 200 * time.Millisecond
	importKeep = time.Second
	// maxAhead is how many batches there are at most, for each that may be under
	// way, whose lines are not all before the place that the import has reached.
	maxAhead = 4
	// maxFreshKeys is how many keys an import into an empty bucket remembers;
	// they take some 40 MB.
	maxFreshKeys = 2_000_000
)

// importer sends the lines of an input in batches, several at once, and knows
// up to where all are acknowledged.
//
// Before the second line of a key is sent, the first is acknowledged, and that
// is on disk: two of them are never under way together, and after an import was
// ended the first is not sent again while the second stays.
//
// A put replaces what a read of its key sees, which costs about a quarter
// of the put. In a bucket that was empty there is nothing to see, but for
// what the import itself wrote: it remembers these keys, as many as it may.
type importer struct {
	opts importOptions
	file *os.File // the input where a state is kept of it; else nil
	// fresh, unless nil, has the hashes of all keys that the bucket has.
	fresh    map[uint64]struct{}
	seed     maphash.Seed
	send     func(ctx context.Context, ops []client.Op) ([]client.Result, error)
	progress func(importState)

	state importState // of what is acknowledged; guarded by mu while batches are under way

	mu      sync.Mutex
	batches []*importBatch      // that were begun, in order; those at the front that are done go away
	keys    map[string]struct{} // of lines that the state on disk does not cover
	acked   []string            // keys that go from there when it does
	ahead   chan struct{}       // an element for each of batches
	shown   time.Time
	kept    time.Time
	failure error // of the first lines among those that failed
	failed  int64 // the number of the first of these lines
}

// importBatch is lines that are sent together.
type importBatch struct {
	ops   []client.Op
	lines []int64 // their numbers in the input
	bytes int
	// end is the offset, and last the number of lines, up to which the batch
	// and those before it go.
	end, last int64
	done      bool
}

// run imports until the input or ctx ends, or a line cannot be written: then the
// batches under way are ended, but no other is begun.
func (i *importer) run(ctx context.Context, input io.Reader) error {
	stop, cancel := context.WithCancel(ctx)
	defer cancel()
	i.keys = map[string]struct{}{}
	if err := i.keep(); err != nil { // what the operations are derived from comes before the first of them
		return err
	}
	var under sync.WaitGroup
	places := make(chan struct{}, i.opts.concurrency)
	i.ahead = make(chan struct{}, maxAhead*i.opts.concurrency)
	begin := func(b *importBatch) {
		if len(b.ops) == 0 {
			return
		}
		select {
		case i.ahead <- struct{}{}:
		case <-stop.Done():
			return
		}
		places <- struct{}{} // batches end with ctx
		i.mu.Lock()
		i.batches = append(i.batches, b)
		i.mu.Unlock()
		under.Go(func() {
			defer func() { <-places }()
			if err := i.carry(ctx, b); err != nil {
				i.fail(b, err)
				cancel()
			}
		})
	}
	err := i.gather(stop, input, begin, &under)
	under.Wait()
	switch {
	case ctx.Err() != nil:
		err = context.Cause(ctx)
	case i.failure != nil:
		err = i.failure
	}
	return errors.Join(err, i.finish(err == nil))
}

// fail keeps the error of a batch, if it is the first in the input so far.
func (i *importer) fail(b *importBatch, err error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if first := b.lines[0]; i.failure == nil || first < i.failed {
		i.failure, i.failed = err, first
	}
}

// gather makes batches of the lines. It is nil only at the end of the input.
func (i *importer) gather(ctx context.Context, input io.Reader, begin func(*importBatch), under *sync.WaitGroup) error {
	lines := newLineReader(input, i.state.Offset, i.state.Lines)
	b := &importBatch{}
	for ctx.Err() == nil {
		line, err := lines.next()
		if err != nil {
			begin(b)
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		op, err := parseRecord(line)
		if err != nil {
			begin(b)
			return fmt.Errorf("line %d: %w", lines.lines, err)
		}
		op.IdempotencyKey = i.state.idempotencyKey(lines.offset, line)
		op.Replace = i.known(op.Key)
		if i.underWay(op.Key) {
			begin(b)
			b = &importBatch{}
			under.Wait()
			if err := errors.Join(i.keep(), ctx.Err()); err != nil {
				return err
			}
		}
		if len(b.ops) == maxImportLines || len(b.ops) > 0 && b.bytes+len(line) > maxImportBytes {
			begin(b)
			b = &importBatch{}
		}
		i.add(b, op, lines, len(line))
	}
	return ctx.Err()
}

// known says whether the bucket may have a key already, and remembers it.
func (i *importer) known(key string) bool {
	if i.fresh == nil {
		return true
	}
	h := maphash.String(i.seed, key)
	if _, ok := i.fresh[h]; ok {
		return true
	}
	if len(i.fresh) == maxFreshKeys {
		i.fresh = nil
		return true
	}
	i.fresh[h] = struct{}{}
	return false
}

// underWay says whether a line of the key is not acknowledged and on disk yet.
func (i *importer) underWay(key string) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	_, ok := i.keys[key]
	return ok
}

func (i *importer) add(b *importBatch, op client.Op, lines *lineReader, bytes int) {
	b.ops, b.lines = append(b.ops, op), append(b.lines, lines.lines)
	b.bytes += bytes
	b.end, b.last = lines.offset, lines.lines
	i.mu.Lock()
	defer i.mu.Unlock()
	i.keys[op.Key] = struct{}{}
}

// carry sends a batch, and is nil when all its lines are acknowledged.
func (i *importer) carry(ctx context.Context, b *importBatch) error {
	results, err := i.send(ctx, b.ops)
	if err != nil {
		return fmt.Errorf("lines %d to %d: %w", b.lines[0], b.lines[len(b.lines)-1], err)
	}
	for k, r := range results {
		if r.Err != nil {
			return fmt.Errorf("line %d: %w", b.lines[k], r.Err)
		}
	}
	return i.acknowledge(b)
}

// acknowledge goes on to the end of the batches that are done.
func (i *importer) acknowledge(b *importBatch) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	b.done = true
	for len(i.batches) > 0 && i.batches[0].done {
		first := i.batches[0]
		i.state.Offset, i.state.Lines = first.end, first.last
		for _, op := range first.ops {
			i.acked = append(i.acked, op.Key)
		}
		i.batches = i.batches[1:]
		<-i.ahead
	}
	now := time.Now()
	if now.Sub(i.shown) >= importShow {
		i.shown = now
		i.progress(i.state)
	}
	if i.file != nil && now.Sub(i.kept) < importKeep {
		return nil
	}
	return i.keepLocked()
}

func (i *importer) keep() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.keepLocked()
}

// keepLocked puts the state on disk, if one is kept.
func (i *importer) keepLocked() (err error) {
	if i.file != nil {
		i.kept = time.Now()
		if i.state.Before, err = digestBefore(i.file, i.state.Offset); err == nil {
			err = i.state.save(i.opts.statePath)
		}
	}
	if err == nil {
		for _, key := range i.acked {
			delete(i.keys, key)
		}
		i.acked = nil
	}
	return err
}

// finish keeps the state of an import that was ended; that of a complete one is
// of no use any more.
func (i *importer) finish(complete bool) error {
	if i.file == nil || !complete {
		return i.keep()
	}
	if err := os.Remove(i.opts.statePath); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}
