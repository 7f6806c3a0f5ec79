package load

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// CompareOptions configure a [Compare].
type CompareOptions struct {
	// Store and Echo are the targets; the other fields apply to both.
	Store, Echo Target
	Connections int
	Records     int
	ValueBytes  int
	Seed        uint64
	// Rounds is how often both are measured, in turns. Default 5.
	Rounds int
	// RoundDuration is the measured time of each of a round's four parts.
	// Default 6 s.
	RoundDuration time.Duration
	// WarmUp precedes each part. Default 500 ms.
	WarmUp time.Duration
	// PutGoal and GetGoal are the ratios of store to echo to be reached.
	PutGoal, GetGoal float64
	// Progress, if not nil, hears which part is under way.
	Progress func(part string, p Progress)
}

// Round is one round's operations per second.
type Round struct {
	EchoPut  float64 `json:"echo_put"`
	StorePut float64 `json:"store_put"`
	EchoGet  float64 `json:"echo_get"`
	StoreGet float64 `json:"store_get"`
	PutRatio float64 `json:"put_ratio"`
	GetRatio float64 `json:"get_ratio"`
}

// Comparison is how a store does beside a bare echo server. Its JSON is part
// of the command line's output.
type Comparison struct {
	Connections int `json:"connections"`
	Records     int `json:"records"`
	ValueBytes  int `json:"value_bytes"`
	// Rounds are in order; Median has the median of each of their columns,
	// so that its ratios are medians of ratios and not of quotients.
	Rounds []Round `json:"rounds"`
	Median Round   `json:"median"`
	// PutGoal and GetGoal are reached when the median ratios are no lower.
	PutGoal float64 `json:"put_goal"`
	GetGoal float64 `json:"get_goal"`
	PutPass bool    `json:"put_pass"`
	GetPass bool    `json:"get_pass"`
	// Errors of the measured parts. With any of them the figures mean
	// little, and Pass is not set.
	Errors     int64  `json:"errors"`
	FirstError string `json:"first_error,omitempty"`
	Pass       bool   `json:"pass"`
	// Store has the store's own measurements, for their latencies: a PUT
	// and a GET for each round.
	Store []Result `json:"store"`
}

// Compare measures echo PUT, store PUT, echo GET and store GET in turns, so
// that what else the machine does meets both alike. The records are put into
// the store first.
func Compare(ctx context.Context, o CompareOptions) (Comparison, error) {
	o, err := o.withDefaults()
	if err != nil {
		return Comparison{}, err
	}
	load := func(t Target) (*Load, error) {
		return New(Options{Target: t, Connections: o.Connections, Records: o.Records, ValueBytes: o.ValueBytes, Seed: o.Seed})
	}
	store, err := load(o.Store)
	if err != nil {
		return Comparison{}, err
	}
	defer store.Close()
	echo, err := load(o.Echo)
	if err != nil {
		return Comparison{}, err
	}
	defer echo.Close()
	if err := store.Fill(ctx, o.hear("fill")); err != nil {
		return Comparison{}, err
	}
	c := Comparison{
		Connections: store.opts.Connections, Records: store.opts.Records, ValueBytes: store.opts.ValueBytes,
		PutGoal: o.PutGoal, GetGoal: o.GetGoal,
	}
	for i := range o.Rounds {
		r, err := c.round(ctx, &o, i, echo, store)
		if err != nil {
			return c, err
		}
		c.Rounds = append(c.Rounds, r)
	}
	c.conclude()
	return c, nil
}

func (o CompareOptions) withDefaults() (CompareOptions, error) {
	if o.Rounds == 0 {
		o.Rounds = 5
	}
	if o.RoundDuration == 0 {
		o.RoundDuration = 6 * time.Second
	}
	if o.WarmUp == 0 {
		o.WarmUp = 500 * time.Millisecond
	}
	if o.Rounds < 1 || o.RoundDuration < 0 || o.WarmUp < 0 {
		return o, errors.New("load: rounds, their duration and the warm-up must be positive")
	}
	return o, nil
}

func (o *CompareOptions) hear(part string) func(Progress) {
	if o.Progress == nil {
		return nil
	}
	return func(p Progress) { o.Progress(part, p) }
}

// round measures the four parts once.
func (c *Comparison) round(ctx context.Context, o *CompareOptions, i int, echo, store *Load) (r Round, err error) {
	for _, part := range []struct {
		name     string
		load     *Load
		workload Workload
		to       *float64
	}{
		{"echo PUT", echo, Puts, &r.EchoPut},
		{"store PUT", store, Puts, &r.StorePut},
		{"echo GET", echo, Gets, &r.EchoGet},
		{"store GET", store, Gets, &r.StoreGet},
	} {
		res, err := part.load.Run(ctx, Phase{
			Workload: part.workload, WarmUp: o.WarmUp, Duration: o.RoundDuration,
			Progress: o.hear(fmt.Sprintf("round %d of %d: %s", i+1, o.Rounds, part.name)),
		})
		if err != nil {
			return r, err
		}
		*part.to = res.OpsPerSecond
		c.Errors += res.Errors
		if c.FirstError == "" {
			c.FirstError = res.FirstError
		}
		if part.load == store {
			c.Store = append(c.Store, res)
		}
	}
	if r.EchoPut == 0 || r.EchoGet == 0 {
		return r, fmt.Errorf("load: the echo server answered nothing: %s", c.FirstError)
	}
	r.PutRatio, r.GetRatio = r.StorePut/r.EchoPut, r.StoreGet/r.EchoGet
	return r, nil
}

// conclude fills in the medians and what follows from them.
func (c *Comparison) conclude() {
	column := func(f func(Round) float64) float64 {
		values := make([]float64, len(c.Rounds))
		for i, r := range c.Rounds {
			values[i] = f(r)
		}
		return median(values)
	}
	c.Median = Round{
		EchoPut:  column(func(r Round) float64 { return r.EchoPut }),
		StorePut: column(func(r Round) float64 { return r.StorePut }),
		EchoGet:  column(func(r Round) float64 { return r.EchoGet }),
		StoreGet: column(func(r Round) float64 { return r.StoreGet }),
		PutRatio: column(func(r Round) float64 { return r.PutRatio }),
		GetRatio: column(func(r Round) float64 { return r.GetRatio }),
	}
	c.PutPass, c.GetPass = c.Median.PutRatio >= c.PutGoal, c.Median.GetRatio >= c.GetGoal
	c.Pass = c.PutPass && c.GetPass && c.Errors == 0
}

// median of values, which it sorts; of an even number, the mean of the middle
// two.
func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	slices.Sort(values)
	return (values[(len(values)-1)/2] + values[len(values)/2]) / 2
}
