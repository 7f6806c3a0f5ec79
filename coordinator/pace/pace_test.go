package pace

import (
	"math/rand/v2"
	"testing"
	"time"
)

func TestRateUnderPressure(t *testing.T) {
	const most = 100 << 20
	for _, c := range []struct{ pressure, want float64 }{
		{-1, most}, {0, most}, {EasyPressure, most}, {0.75, most / 4}, {0.95, most / 100}, {1, MinBytesPerSecond}, {7, MinBytesPerSecond},
	} {
		if got := RateUnder(c.pressure, most); got < c.want*0.999 || got > c.want*1.001 {
			t.Errorf("pressure %v: %v bytes a second, want %v", c.pressure, got, c.want)
		}
	}
	if got := RateUnder(1, 1000); got != 1000 {
		t.Errorf("a small rate became %v under pressure", got)
	}
}

// TestBucketHoldsTheRate draws messages and pauses at random and holds every
// stretch of time to invariant 2; who waits as told gets through.
func TestBucketHoldsTheRate(t *testing.T) {
	type sent struct {
		at    time.Time
		bytes int64
	}
	const rate, largest = 10_000.0, 5_000
	rng := rand.New(rand.NewPCG(1, 2))
	for range 50 {
		var b Bucket
		var all []sent
		now := time.Unix(1_700_000_000, 0)
		for range 200 {
			now = now.Add(time.Duration(rng.Int64N(int64(200 * time.Millisecond))))
			bytes := rng.Int64N(largest) + 1
			wait := b.Take(now, bytes, rate)
			for tries := 1; wait > 0; tries++ {
				if tries > 2 || tries == 2 && wait > time.Microsecond { // of rounding
					t.Fatalf("try %d has to wait for %v more", tries, wait)
				}
				now = now.Add(wait)
				wait = b.Take(now, bytes, rate)
			}
			all = append(all, sent{now, bytes})
		}
		for i := range all {
			sum := int64(0)
			for _, s := range all[i:] {
				sum += s.bytes
				if most := rate*(s.at.Sub(all[i].at)+Burst).Seconds() + largest; float64(sum) > most+1 {
					t.Fatalf("%d bytes in %v, at most %.0f", sum, s.at.Sub(all[i].at), most)
				}
			}
		}
	}
}
