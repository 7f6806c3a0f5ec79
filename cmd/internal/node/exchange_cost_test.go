package node

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"

	"starling/antientropy"
	"starling/cmd/internal/load"
	"starling/config"
)

// What is measured: three nodes that own everything, under a load that has more
// to ask than they can answer. Durability is not sync, so that CPU is what
// bounds them.
const (
	costRecords  = 20_000
	costClients  = 32
	costWindow   = time.Second
	costWarmUp   = 200 * time.Millisecond
	costMinPairs = 20
	// costInterval is as much longer than the default as two windows are longer
	// than the measured part of one: what becomes due in both is done there.
	costInterval = antientropy.DefaultInterval * (2 * (costWarmUp + costWindow) / time.Millisecond) / (costWindow / time.Millisecond)
)

// BenchmarkExchangeCost compares the throughput of a converged cluster while its
// exchanges run and while they are held, window by window in turns: what else
// the machine does then meets both alike. One op is a pair of windows, so give
// -benchtime 20x or more:
//
//	go test -run '^$' -bench ExchangeCost -benchtime 40x -cpuprofile cpu.out ./cmd/internal/node
//	go tool pprof -top -focus 'starling/antientropy' node.test cpu.out
//
// Exchanges that become due in a window without are made up for in the next one
// with them. The interval is so long that these have as many comparisons a second
// as there are by default; comparisons/s tells.
func BenchmarkExchangeCost(b *testing.B) {
	c := startCosted(b)
	l := c.load()
	c.awaitEqual()
	first, _ := c.window(l, true)
	without := []float64{first}
	var with []float64
	var compared float64
	for b.Loop() {
		on, some := c.window(l, false)
		off, none := c.window(l, true)
		if none*10 > some {
			b.Fatalf("%v comparisons in a window that should have none, %v in the one before", none, some)
		}
		with, without, compared = append(with, on), append(without, off), compared+some
	}
	if len(with) < costMinPairs {
		b.Logf("%d pairs of windows say little: give -benchtime %dx or more", len(with), costMinPairs)
	}
	ratios := make([]float64, len(with))
	for i := range with {
		ratios[i] = with[i] / ((without[i] + without[i+1]) / 2) // of both neighbours, so that a trend is none
	}
	slices.Sort(ratios)
	slices.Sort(without)
	quantile := func(of []float64, q float64) float64 { return of[int(q*float64(len(of)-1)+0.5)] }
	b.ReportMetric(0, "ns/op") // always the two windows
	b.ReportMetric(quantile(ratios, 0.5), "throughput-ratio")
	b.ReportMetric(quantile(ratios, 0.25), "ratio-p25")
	b.ReportMetric(quantile(ratios, 0.75), "ratio-p75")
	b.ReportMetric(quantile(without, 0.5), "req/s")
	b.ReportMetric(compared/(float64(len(with))*costWindow.Seconds()), "comparisons/s")
}

// costed is a cluster whose exchanges can be held.
type costed struct {
	b     *testing.B
	nodes []*Node
	all   []uint32 // partitions
}

// startCosted runs three nodes in this process, on loopback, until the end.
func startCosted(b *testing.B) *costed {
	c := &costed{b: b}
	dir := b.TempDir() // before what is cleaned up first: the nodes' end
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	var mu sync.Mutex
	var failed error
	b.Cleanup(func() {
		stop()
		running.Wait()
		if failed != nil {
			b.Error(failed)
		}
	})
	for i := range 3 {
		env := []string{"STARLING_NAME=n" + fmt.Sprint(i+1), "STARLING_DATA_DIR=" + filepath.Join(dir, fmt.Sprint(i)), "STARLING_HTTP=127.0.0.1:0",
			"STARLING_RPC=127.0.0.1:0", "STARLING_GOSSIP=127.0.0.1:0", "STARLING_FREE_FLOOR_BYTES=1MiB", "STARLING_DURABILITY=interval",
			"STARLING_ANTIENTROPY_INTERVAL=" + costInterval.String()}
		if i > 0 {
			env = append(env, "STARLING_JOIN="+c.nodes[0].RPCAddr())
		}
		cfg, err := config.Load(nil, env)
		if err != nil {
			b.Fatal(err)
		}
		n, err := New(Options{Config: cfg, Version: "test"})
		if err != nil {
			b.Fatal(err)
		}
		c.nodes = append(c.nodes, n)
		running.Go(func() {
			err := n.Run(ctx)
			mu.Lock()
			defer mu.Unlock()
			failed = errors.Join(failed, err)
		})
		c.await(n.cfg.Name+" ready", func() bool { return n.Ready() == nil })
	}
	for p := range c.nodes[0].coord.View().Ring().Config().Partitions {
		c.all = append(c.all, uint32(p))
	}
	c.await("three owners of everything", func() bool {
		for _, n := range c.nodes {
			if v := n.coord.View(); v.OwnedBy(n.id) != len(c.all) || n.Pending() > 0 {
				return false
			}
		}
		return true
	})
	return c
}

func (c *costed) await(what string, holds func() bool) {
	c.b.Helper()
	for deadline := time.Now().Add(2 * time.Minute); !holds(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			c.b.Fatalf("gave up waiting for: %s", what)
		}
	}
}

// load makes the clients, and the records.
func (c *costed) load() *load.Load {
	o := load.Options{Connections: costClients, Records: costRecords, Seed: 1}
	for _, n := range c.nodes {
		o.Target.Endpoints = append(o.Target.Endpoints, n.HTTPAddr())
	}
	l, err := load.New(o)
	if err != nil {
		c.b.Fatal(err)
	}
	c.b.Cleanup(l.Close)
	if err := l.Fill(c.b.Context(), nil); err != nil {
		c.b.Fatal(err)
	}
	return l
}

// awaitEqual waits until every pair was proven equal after the records were
// written.
func (c *costed) awaitEqual() {
	c.b.Helper()
	since := time.Now()
	for _, n := range c.nodes {
		if _, err := n.exchanger.Repair(antientropy.RepairRequest{}); err != nil { // sooner than the interval
			c.b.Fatal(err)
		}
	}
	c.await("all owners are equal", func() bool {
		return c.metric("starling_antientropy_open_pairs") == 0 &&
			c.metric("starling_antientropy_oldest_proof_seconds") < time.Since(since).Seconds()
	})
}

// window measures the requests a second of a time in which exchanges run, or
// are held at all nodes, and counts the comparisons in it.
func (c *costed) window(l *load.Load, hold bool) (perSecond, compared float64) {
	c.b.Helper()
	if hold {
		defer c.hold()()
	}
	c.drive(l, costWarmUp)
	before := c.comparisons()
	perSecond = c.drive(l, costWindow)
	return perSecond, c.comparisons() - before
}

func (c *costed) drive(l *load.Load, d time.Duration) (perSecond float64) {
	c.b.Helper()
	w, err := load.ParseWorkload("a") // half reads, half updates
	if err != nil {
		c.b.Fatal(err)
	}
	r, err := l.Run(c.b.Context(), load.Phase{Workload: w, Duration: d})
	if err != nil || r.Errors > 0 {
		c.b.Fatalf("%d requests failed: %s %v", r.Errors, r.FirstError, err)
	}
	return r.OpsPerSecond
}

// hold has no exchanges begin in a window, until release is called and for the
// warm-up of the next one at most.
func (c *costed) hold() (release func()) {
	keep := func(d time.Duration) {
		for _, n := range c.nodes {
			n.exchanger.Hold(c.all, d)
		}
	}
	keep(costWarmUp + costWindow)
	ctx, stop := context.WithCancel(c.b.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		again := time.NewTicker(costWarmUp / 8)
		defer again.Stop()
		for ctx.Err() == nil {
			keep(costWarmUp) // for a window that lasts longer
			select {
			case <-again.C:
			case <-ctx.Done():
			}
		}
	}()
	return func() {
		stop()
		<-ended
	}
}

// comparisons counts those that all nodes have begun, but for those that were
// given up because the partition is held: a turn that was begun before goes
// through its list.
func (c *costed) comparisons() float64 {
	return c.metric("starling_antientropy_exchanges_total", "busy")
}

// metric adds up a counter or gauge of all nodes, but for what has one of the
// labels.
func (c *costed) metric(name string, without ...string) (sum float64) {
	c.b.Helper()
	for _, n := range c.nodes {
		families, err := n.registry.Gather()
		if err != nil {
			c.b.Fatal(err)
		}
		for _, f := range families {
			if f.GetName() != name {
				continue
			}
			for _, m := range f.GetMetric() {
				if slices.ContainsFunc(m.GetLabel(), func(l *dto.LabelPair) bool { return slices.Contains(without, l.GetValue()) }) {
					continue
				}
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue() // one of them is not there, and 0
			}
		}
	}
	return sum
}
