package antientropy

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"starling/coordinator/pace"
)

func TestRateFallsWithThePressure(t *testing.T) {
	const most = 64 << 20
	last := float64(most)
	for p := 0.0; p <= 1; p += 0.05 {
		rate := pace.RateUnder(p, most)
		if rate > last || rate < pace.MinBytesPerSecond || p <= pace.EasyPressure && rate != most {
			t.Errorf("rate %v under pressure %v", rate, p)
		}
		last = rate
	}
	if last > most/20 {
		t.Errorf("rate %v on a node that is full", last)
	}
	if rate := pace.RateUnder(1, 1000); rate != 1000 {
		t.Errorf("rate %v, though at most 1000 are allowed", rate)
	}
}

// A page is what may be shipped in a second, within bounds.
func TestPagesShrinkWithTheRate(t *testing.T) {
	pressure := 0.0
	p := newPacer(always(64<<20), func() float64 { return pressure })
	if n := p.pageBytes(1 << 20); n != 1<<20 {
		t.Errorf("%d bytes on an idle node", n)
	}
	if pressure = 1; p.pageBytes(1<<20) != pace.MinBytesPerSecond {
		t.Errorf("%d bytes on a full node", p.pageBytes(1<<20))
	}
	if n := newPacer(always(10), func() float64 { return 0 }).pageBytes(1 << 20); n != MinPageBytes {
		t.Errorf("%d bytes at 10 bytes a second", n)
	}
}

func always(rate int64) func() int64 { return func() int64 { return rate } }

func TestWorkRestsOnlyUnderPressure(t *testing.T) {
	if d := restAfter(time.Second, 0); d != 0 {
		t.Errorf("an idle node rests %v", d)
	}
	if d := restAfter(10*time.Millisecond, 0.001); d != 70*time.Millisecond {
		t.Errorf("10 ms of work are followed by %v", d)
	}
	if d := restAfter(10*time.Millisecond, 1); d < 900*time.Millisecond || d > maxRest {
		t.Errorf("on a full node by %v", d)
	}
	if d := restAfter(time.Hour, 1); d != maxRest {
		t.Errorf("a rest of %v", d)
	}
}

// Whatever is paid for, in any time T at most rate × (T + pace.Burst) bytes and one
// message pass.
func TestThePacerKeepsItsRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const rate = 1 << 20
		p := newPacer(always(rate), func() float64 { return 0 })
		start, sent := time.Now(), 0
		for n := range 200 {
			size := []int{100, 300_000, 0, 20_000}[n%4]
			if err := p.pay(t.Context(), size); err != nil {
				t.Fatal(err)
			}
			sent += size
			if most := rate*(time.Since(start)+pace.Burst).Seconds() + 300_000; float64(sent) > most {
				t.Fatalf("%d bytes after %v, at most %.0f", sent, time.Since(start), most)
			}
		}
		if took, want := time.Since(start).Seconds(), float64(sent)/rate; took > want*1.01 {
			t.Errorf("%d bytes took %.1f s, want %.1f", sent, took, want)
		}
		_ = p.pay(t.Context(), 100*rate)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := p.pay(ctx, 1); err != context.DeadlineExceeded {
			t.Errorf("waiting ends with %v", err)
		}
	})
}
