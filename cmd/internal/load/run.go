package load

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// Phase is one measurement.
type Phase struct {
	Workload Workload
	// WarmUp is driven first and not counted.
	WarmUp time.Duration
	// Duration is how long operations are begun and counted. Required.
	Duration time.Duration
	// Progress, if not nil, is called a few times a second.
	Progress func(Progress)
}

// run is a Run under way.
type run struct {
	load       *Load
	workload   *Workload
	from, till time.Time // operations begun in this time count
	ops, errs  atomic.Int64
	firstError sync.Once
	errText    string
}

// worker is one connection's part in a run.
type worker struct {
	run     *run
	conn    *conn
	rng     *rand.Rand
	choose  chooser
	tallies [opCount]*tally
	last    time.Time // when the last operation that counts was answered
}

// Run drives a workload for a time. When ctx ends early it answers what was
// measured until then, with the context's error.
func (l *Load) Run(ctx context.Context, p Phase) (Result, error) {
	if p.Duration <= 0 || p.WarmUp < 0 {
		return Result{}, errors.New("load: the duration must be positive and the warm-up not negative")
	}
	l.runs++
	start := time.Now()
	r := &run{load: l, workload: &p.Workload, from: start.Add(p.WarmUp), till: start.Add(p.WarmUp + p.Duration)}
	zipf := l.zipfian(p.Workload.Distribution)
	workers := make([]*worker, len(l.conns))
	for i, c := range l.conns {
		rng := rand.New(rand.NewPCG(l.opts.Seed, l.runs<<32|uint64(i)))
		workers[i] = &worker{
			run: r, conn: c, rng: rng,
			choose: chooser{rng: rng, distribution: p.Workload.Distribution, zipf: zipf, inserted: l.inserted},
		}
	}
	l.each(ctx, func(i int, _ *conn) { workers[i].work(ctx) }, func() {
		if p.Progress != nil {
			elapsed := time.Since(start)
			p.Progress(Progress{
				Done: min(1, float64(elapsed)/float64(p.WarmUp+p.Duration)),
				Ops:  r.ops.Load(), Errors: r.errs.Load(), Elapsed: elapsed,
			})
		}
	})
	return r.result(workers), context.Cause(ctx)
}

// zipfian prepares the distribution that a run's connections share.
func (l *Load) zipfian(d Distribution) zipfian {
	switch d {
	case Zipfian:
		return newZipfian(scrambledItems, scrambledZeta)
	case Latest:
		n := l.inserted.known()
		return newZipfian(n, zetaSum(n))
	default:
		return zipfian{}
	}
}

// work drives one connection until the time is over.
func (w *worker) work(ctx context.Context) {
	for ctx.Err() == nil {
		w.conn.pause()
		op := w.run.workload.choose(w.rng.Float64())
		begun := time.Now()
		if !begun.Before(w.run.till) {
			return
		}
		r, err := w.operate(op)
		if err != nil && ctx.Err() != nil {
			return // the end of the run, not the server's doing
		}
		w.count(op, r, err, begun, time.Now())
	}
}

// count notes an operation that was answered or failed.
func (w *worker) count(op Op, r reply, err error, begun, answered time.Time) {
	w.run.ops.Add(1)
	if err != nil || !good(r.status) {
		w.run.errs.Add(1)
	}
	if err != nil {
		w.run.firstError.Do(func() { w.run.errText = err.Error() })
	}
	if begun.Before(w.run.from) {
		return
	}
	if w.tallies[op] == nil {
		w.tallies[op] = newTally()
	}
	w.tallies[op].add(r, err, answered.Sub(begun))
	w.last = answered
}

// operate does one operation.
func (w *worker) operate(op Op) (reply, error) {
	l := w.run.load
	if op == Insert {
		record := l.inserted.begin()
		defer l.inserted.end(record)
		return w.conn.doPut(record, l.value(w.rng), "")
	}
	record := w.choose.record()
	if op == Read || op == ReadModifyWrite {
		r, err := w.conn.doGet(record)
		if err != nil || !good(r.status) {
			return r, err
		}
		l.learn(record, r)
		if op == Read {
			return r, nil
		}
		return w.put(record, r.context)
	}
	return w.put(record, l.context(record))
}

func (w *worker) put(record int, token string) (reply, error) {
	l := w.run.load
	r, err := w.conn.doPut(record, l.value(w.rng), token)
	if err == nil && good(r.status) {
		l.learn(record, r)
	}
	return r, err
}

// result merges what all connections saw.
func (r *run) result(workers []*worker) Result {
	o := &r.load.opts
	res := Result{
		Target: o.Target.Name, Workload: r.workload.Name,
		Connections: o.Connections, Records: o.Records, ValueBytes: o.ValueBytes,
		Operations: make(map[string]OpResult), FirstError: r.errText,
	}
	var last time.Time
	var sums [opCount]*tally
	for _, w := range workers {
		if w.last.After(last) {
			last = w.last
		}
		for op, t := range w.tallies {
			switch {
			case t == nil:
			case sums[op] == nil:
				sums[op] = t
			default:
				sums[op].merge(t)
			}
		}
	}
	elapsed := max(0, last.Sub(r.from))
	for op, t := range sums {
		if t == nil {
			continue
		}
		part := t.result(elapsed)
		res.Operations[Op(op).String()] = part
		res.Ops += part.Ops
		res.Errors += part.Errors
	}
	res.DurationSeconds = elapsed.Seconds()
	res.OpsPerSecond = perSecond(res.Ops, elapsed)
	return res
}
