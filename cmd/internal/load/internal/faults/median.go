package main

import (
	"errors"
	"maps"
	"math"
	"slices"
	"time"
)

// median is the median of what a histogram gained since before, with a
// uniform spread assumed within each bucket.
func (h histogram) median(before histogram) (time.Duration, error) {
	bounds := slices.Sorted(maps.Keys(h))
	if len(bounds) == 0 || h[bounds[len(bounds)-1]] <= before[bounds[len(bounds)-1]] {
		return 0, errors.New("the nodes' metrics have no replica requests")
	}
	last := bounds[len(bounds)-1]
	half := (h[last] - before[last]) / 2
	low, below := 0.0, 0.0
	for _, bound := range bounds {
		n := h[bound] - before[bound]
		if n >= half {
			if math.IsInf(bound, 1) {
				break // beyond what the histogram tells
			}
			seconds := low + (bound-low)*(half-below)/(n-below)
			return time.Duration(seconds * float64(time.Second)), nil
		}
		low, below = bound, n
	}
	return time.Duration(low * float64(time.Second)), nil
}
