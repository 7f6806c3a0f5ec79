package main

import (
	"math"
	"testing"
	"time"
)

func TestMedian(t *testing.T) {
	inf := math.Inf(1)
	for _, tt := range []struct {
		after, before histogram
		want          time.Duration // 0: an error
	}{
		{histogram{0.001: 10, 0.002: 10, inf: 10}, nil, 500 * time.Microsecond},
		{histogram{0.001: 5, 0.002: 15, inf: 20}, nil, 1500 * time.Microsecond},
		{histogram{0.001: 105, 0.002: 115, inf: 120}, histogram{0.001: 100, 0.002: 100, inf: 100}, 1500 * time.Microsecond},
		{histogram{0.001: 1, 0.002: 2, inf: 100}, nil, 2 * time.Millisecond},
		{histogram{0.001: 7, inf: 7}, histogram{0.001: 7, inf: 7}, 0},
		{nil, nil, 0},
	} {
		got, err := tt.after.median(tt.before)
		if got != tt.want || (err != nil) != (tt.want == 0) {
			t.Errorf("%v since %v: %v, %v; want %v", tt.after, tt.before, got, err, tt.want)
		}
	}
}
