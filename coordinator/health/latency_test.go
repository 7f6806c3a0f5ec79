package health

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// dumb remembers every sample and works the percentile out by its definition.
type dumb struct {
	halving time.Duration
	samples []dumbSample
}

type dumbSample struct {
	at   time.Time
	took time.Duration
}

func (d *dumb) p95(now time.Time) (p time.Duration, total float64) {
	weight := func(s dumbSample) float64 {
		return math.Exp2(-now.Sub(s.at).Seconds() / d.halving.Seconds())
	}
	for _, s := range d.samples {
		total += weight(s)
	}
	slices.SortFunc(d.samples, func(a, b dumbSample) int { return int(a.took - b.took) })
	sum := 0.0
	for _, s := range d.samples {
		if sum += weight(s); sum >= 0.95*total {
			return s.took, total
		}
	}
	return 0, total
}

func TestP95AgainstTheDefinition(t *testing.T) {
	compared := 0
	for seed := range uint64(40) {
		r := rand.New(rand.NewPCG(seed, 3))
		p, now := New(Config{}), epoch
		d := &dumb{halving: p.cfg.SampleHalving}
		scale := math.Exp(r.Float64()*12) * 20 * float64(time.Microsecond)
		pause := math.Exp(r.Float64()*9) * float64(time.Millisecond)
		for i := range 400 {
			now = now.Add(time.Duration(r.ExpFloat64() * pause))
			took := time.Duration(scale * math.Exp(r.NormFloat64()))
			took = min(took, 80*time.Second)
			p.Begin(now)
			p.End(now, Write, took, OK)
			d.samples = append(d.samples, dumbSample{now, took})
			if i%8 > 0 && i > 20 {
				continue
			}
			got := p.P95(now, Write)
			want, total := d.p95(now)
			if math.Abs(total-p.cfg.MinSamples) < 1e-6 {
				continue // either is right
			}
			if total < p.cfg.MinSamples {
				want = 0
			} else {
				compared++
				want = max(want, minLatency)
			}
			if off := math.Abs(float64(got - want)); off > 0.1*float64(want) {
				t.Fatalf("seed %d: %v, want %v", seed, got, want)
			}
		}
		if other := p.P95(now, Read); other != 0 {
			t.Fatalf("reads have %v of the writes", other)
		}
	}
	if compared < 1000 {
		t.Errorf("only %d comparisons", compared)
	}
}

// Weights that rise for days must not overflow, nor drown one another.
func TestP95AfterALongTime(t *testing.T) {
	p, now := New(Config{}), epoch
	for range 100_000 {
		now = now.Add(time.Second)
		answer(p, now, Read, time.Millisecond)
	}
	if got := p.P95(now, Read); off(got, time.Millisecond) > 0.1 {
		t.Errorf("%v, want 1ms", got)
	}
	if total := p.latency[Read].hist.total(now, p.cfg.SampleHalving); off(time.Duration(total*1e6), time.Duration(1e6/(1-math.Exp2(-0.1)))) > 0.01 {
		t.Errorf("%v samples counted", total)
	}
	if got := p.P95(now.Add(time.Minute), Read); got != 0 {
		t.Errorf("%v after a minute of silence", got)
	}
	for i := range 20 {
		answer(p, now.Add(24*time.Hour+time.Duration(i)), Read, time.Second)
	}
	if got := p.P95(now.Add(24*time.Hour), Read); off(got, time.Second) > 0.1 {
		t.Errorf("%v, want the 1s of today", got)
	}
}

func off(got, want time.Duration) float64 { return math.Abs(float64(got-want)) / float64(want) }

func answer(p *Peer, now time.Time, c Class, took time.Duration) {
	p.Begin(now)
	p.End(now, c, took, OK)
}

func TestBucketsCoverEveryLength(t *testing.T) {
	for took := time.Duration(1); took <= 80*time.Second; took += 1 + took/50 {
		b := bucketOf(took)
		if d := off(middleOf(b), max(took, minLatency)); d > 0.1 {
			t.Errorf("%v lies in bucket %d, whose middle %v is %.0f %% off", took, b, middleOf(b), 100*d)
		}
	}
	if b := bucketOf(math.MaxInt64); b != numBuckets-1 {
		t.Errorf("the longest lies in bucket %d", b)
	}
	if b := bucketOf(0); b != 0 {
		t.Errorf("nothing lies in bucket %d", b)
	}
}

func TestCostOrdersPeers(t *testing.T) {
	p := New(Config{})
	cost := func() time.Duration { return p.Cost(epoch, Read) }
	if cost() != 0 {
		t.Errorf("an unknown peer costs %v", cost())
	}
	answer(p, epoch, Read, 10*time.Millisecond)
	if cost() != 10*time.Millisecond || p.Cost(epoch, Write) != 0 {
		t.Errorf("read %v, want 10ms; write %v, want 0", cost(), p.Cost(epoch, Write))
	}
	p.Begin(epoch)
	p.Begin(epoch)
	if cost() != 30*time.Millisecond {
		t.Errorf("with two calls under way %v, want 30ms", cost())
	}
	p.End(epoch, Read, 20*time.Millisecond, OK)
	if want := 2 * 12 * time.Millisecond; cost() != want {
		t.Errorf("after an answer in 20ms %v, want %v", cost(), want)
	}
	p.End(epoch, Read, 0, Lost)
	if want := 12 * time.Millisecond; cost() != want {
		t.Errorf("after a lost call %v, want %v", cost(), want)
	}
}

func TestOverloadedPeerCostsMoreForAWhile(t *testing.T) {
	p := New(Config{})
	answer(p, epoch, Read, 10*time.Millisecond)
	refuse := func(n int) {
		for range n {
			p.Begin(epoch)
			p.End(epoch, Read, time.Microsecond, Busy)
		}
	}
	refuse(1)
	for after, want := range map[time.Duration]time.Duration{0: 50 * time.Millisecond, time.Second: 30 * time.Millisecond, 2 * time.Second: 20 * time.Millisecond} {
		if got := p.Cost(epoch.Add(after), Read); off(got, want) > 0.001 {
			t.Errorf("%v after the refusal %v, want %v", after, got, want)
		}
	}
	refuse(1000)
	if got, want := p.Cost(epoch, Read), 650*time.Millisecond; off(got, want) > 0.001 {
		t.Errorf("after very many refusals %v, want %v", got, want)
	}
	if got := p.P95(epoch, Read); got != 0 {
		t.Errorf("refusals make a percentile of %v", got)
	}
	fresh := New(Config{})
	fresh.Begin(epoch)
	fresh.End(epoch, Read, time.Millisecond, Busy)
	if got := fresh.Cost(epoch, Read); got != 5*time.Millisecond {
		t.Errorf("of a peer that only refused, the cost is %v, want 5ms", got)
	}
}

func TestSlowPeerIsForgivenAndKnownAgain(t *testing.T) {
	p := New(Config{})
	for range 20 {
		answer(p, epoch, Read, 500*time.Millisecond)
	}
	for after, want := range map[time.Duration]time.Duration{
		2 * time.Second:  500 * time.Millisecond,
		3 * time.Second:  250 * time.Millisecond,
		11 * time.Second: 976562 * time.Nanosecond,
	} {
		if got := p.Cost(epoch.Add(after), Read); off(got, want) > 0.001 {
			t.Errorf("after %v of silence %v, want %v", after, got, want)
		}
	}
	now := epoch.Add(11 * time.Second)
	answer(p, now, Read, 500*time.Millisecond)
	if got := p.Cost(now, Read); off(got, 500*time.Millisecond) > 0.01 {
		t.Errorf("one slow answer later %v", got)
	}
}

func TestWaitThatWasGivenUp(t *testing.T) {
	p := New(Config{})
	giveUp := func(took time.Duration) time.Duration {
		p.Begin(epoch)
		p.End(epoch, Read, took, Expired)
		return p.Cost(epoch, Read)
	}
	if got := giveUp(time.Second); got != time.Second {
		t.Errorf("of an unknown peer the cost is %v, want the 1s waited", got)
	}
	if got := giveUp(time.Millisecond); got != time.Second {
		t.Errorf("a short wait lowered the cost to %v", got)
	}
	if got := giveUp(2 * time.Second); got != 1200*time.Millisecond {
		t.Errorf("a longer wait made the cost %v, want 1.2s", got)
	}
}

// A hedge after the 95th percentile cancels the slowest reads. If those did
// not count, the percentile would fall and fall.
func TestHedgingDoesNotWearThePercentileDown(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 4))
	p, now := New(Config{}), epoch
	hedges := 0
	const reads = 20_000
	for range reads {
		now = now.Add(10 * time.Millisecond)
		took, o := time.Duration(r.ExpFloat64()*float64(10*time.Millisecond)), OK
		if limit := p.P95(now, Read); limit > 0 && took > limit {
			hedges++
			took, o = limit, Expired
		}
		p.Begin(now)
		p.End(now, Read, took, o)
	}
	if share := float64(hedges) / reads; share > 0.08 || share < 0.03 {
		t.Errorf("%.1f %% of the reads were hedged", 100*share)
	}
}

func TestTimesThatRunBackwards(t *testing.T) {
	p := New(Config{})
	answer(p, epoch, Read, time.Millisecond)
	answer(p, epoch.Add(-time.Millisecond), Read, time.Millisecond)
	p.Begin(epoch)
	p.End(epoch.Add(-time.Second), Read, -time.Second, OK)
	if got := p.Cost(epoch, Read); got <= 0 || got > time.Millisecond {
		t.Errorf("cost %v", got)
	}
	if got := p.latency[Read].hist.total(epoch, time.Second); got != 3 {
		t.Errorf("%v samples, want 3", got)
	}
	p.End(epoch, Read, 0, OK)
	if n := p.Snapshot(epoch).InFlight; n != 0 {
		t.Errorf("%d calls under way", n)
	}
}

func BenchmarkCall(b *testing.B) {
	p, now := New(Config{}), epoch
	b.ReportAllocs()
	for b.Loop() {
		now = now.Add(time.Microsecond)
		p.Begin(now)
		p.End(now, Read, time.Millisecond, OK)
	}
}

func BenchmarkP95(b *testing.B) {
	p := New(Config{})
	for i := range 100 {
		answer(p, epoch, Read, time.Duration(i)*time.Millisecond)
	}
	b.ReportAllocs()
	for b.Loop() {
		p.P95(epoch, Read)
	}
}
