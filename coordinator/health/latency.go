package health

import (
	"math"
	"time"
)

// latency is what is known of how long calls of one class take.
type latency struct {
	cfg *Config
	// mean is the moving average in seconds at the time of the last news.
	mean float64
	news time.Time
	hist histogram
}

// estimate is the moving average in seconds, lower the longer the silence.
func (l *latency) estimate(now time.Time) float64 {
	return l.mean * halved(now.Sub(l.news)-l.cfg.Stale, l.cfg.Halving)
}

// sample learns how long an answer took.
func (l *latency) sample(now time.Time, took time.Duration) {
	l.average(now, took)
	l.hist.add(now, took, l.cfg.SampleHalving)
}

// average takes a sample into the moving average.
func (l *latency) average(now time.Time, took time.Duration) {
	old := l.estimate(now)
	// What the silence took from the estimate the sample takes over, so that
	// one answer is enough to know a peer again that was not asked for long.
	weight := l.cfg.Weight
	if l.mean > 0 {
		weight = max(weight, 1-old/l.mean)
	} else {
		weight = 1
	}
	l.mean = old + weight*(took.Seconds()-old)
	l.news = now
}

// atLeast learns of a wait that was given up.
func (l *latency) atLeast(now time.Time, took time.Duration) {
	if took.Seconds() <= l.estimate(now) {
		return
	}
	l.average(now, took)
	// A read is given up some time after the percentile, because it was
	// hedged then. Left out of the histogram, such reads would cut off the tail
	// of what is measured, and every hedge make the next come sooner; and in
	// their own bucket the percentile could fall by chance but never rise.
	l.hist.add(now, time.Duration(min(float64(took)*growth, float64(math.MaxInt64/2))), l.cfg.SampleHalving)
}

// refused learns of a quick refusal, which is no sign of a quick peer.
func (l *latency) refused(now time.Time, took time.Duration) {
	if l.mean == 0 {
		l.mean = took.Seconds() // else a refusal would leave the peer the cheapest
	}
	l.news = now
}

// halved is the share that is left after some time of what halves every step.
func halved(after, step time.Duration) float64 {
	if after <= 0 {
		return 1
	}
	return math.Exp2(-after.Seconds() / step.Seconds())
}

// Buckets of the histogram: bucket i holds what is longer than
// minLatency × growth^(i-1) and at most minLatency × growth^i. Its middle is
// less than 10 % off from all in it. The last bucket begins at 80 s.
const (
	minLatency = 10 * time.Microsecond
	growth     = 1.2
	numBuckets = 89
)

var logGrowth = math.Log(growth)

// histogram counts samples by length, each with a weight that halves as it
// ages. Instead of lowering the old weights it raises the new ones.
type histogram struct {
	counts [numBuckets]float64
	sum    float64
	// zero is the time whose samples have weight 1; before the first sample,
	// long ago.
	zero time.Time
}

// maxRise bounds the weight of a new sample, as a power of two: far more than
// that and the sum of all samples would lose the old ones to rounding, or
// overflow in the end.
const maxRise = 30

func (h *histogram) add(now time.Time, took, halving time.Duration) {
	if now.Sub(h.zero) > maxRise*halving {
		h.rebase(now, halving)
	}
	w := 1 / halved(now.Sub(h.zero), halving)
	h.counts[bucketOf(took)] += w
	h.sum += w
}

// rebase makes now the time of weight 1.
func (h *histogram) rebase(now time.Time, halving time.Duration) {
	f := halved(now.Sub(h.zero), halving)
	h.zero, h.sum = now, 0
	for i := range h.counts {
		h.counts[i] *= f
		h.sum += h.counts[i]
	}
}

// total is the number of samples, each counted by its age.
func (h *histogram) total(now time.Time, halving time.Duration) float64 {
	return h.sum * halved(now.Sub(h.zero), halving)
}

// quantile is the middle of the bucket below whose end the share q of the
// samples lies; 0 without any.
func (h *histogram) quantile(q float64) time.Duration {
	rank := q * h.sum
	for i, c := range h.counts {
		if rank -= c; c > 0 && rank <= 0 {
			return middleOf(i)
		}
	}
	return 0
}

func bucketOf(took time.Duration) int {
	if took <= minLatency {
		return 0
	}
	i := int(math.Ceil(math.Log(float64(took)/float64(minLatency)) / logGrowth))
	return min(i, numBuckets-1)
}

func middleOf(bucket int) time.Duration {
	return time.Duration(float64(minLatency) * math.Pow(growth, float64(bucket)-0.5))
}
