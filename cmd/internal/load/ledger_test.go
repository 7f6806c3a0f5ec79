package load

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// told makes a history: a is a put that was acknowledged, r one that was
// refused, ? one of unknown outcome.
func told(story string) *history {
	h := &history{}
	for _, what := range story {
		n := h.begin()
		switch what {
		case 'a':
			h.ack(n, "token "+string(rune('0'+n)))
		case 'r':
			h.refuse(n)
		}
	}
	return h
}

func TestCheckOfACopy(t *testing.T) {
	for _, tt := range []struct {
		story  string
		copy   []int
		accept bool
	}{
		{"", nil, true},
		{"?", nil, true},
		{"?", []int{1}, true},
		{"a", []int{1}, true},
		{"a", nil, false},
		{"aa", []int{1}, false},
		{"aa", []int{2}, true},
		{"aa", []int{1, 2}, true}, // stamped twice, and only one of them superseded
		{"a?", []int{1}, true},
		{"a?", []int{2}, true}, // it supersedes what was acknowledged
		{"a??", []int{2, 3}, true},
		{"a?a", []int{3}, true},
		{"a?a", []int{2, 3}, true},
		{"a?a", []int{2}, false}, // it never knew of put 3
		{"ar", []int{1}, true},
		{"ar", []int{2}, false},
		{"ar", []int{1, 2}, false},
		{"ara", []int{2, 3}, false},
		{"aa", []int{2, 3}, false},
		{"a", []int{0, 1}, false},
	} {
		if err := told(tt.story).check(tt.copy); (err == nil) != tt.accept {
			t.Errorf("puts %q, copy %v: %v", tt.story, tt.copy, err)
		}
	}
}

func TestWhatAReaderLearns(t *testing.T) {
	for _, tt := range []struct {
		story string
		seen  []int
		stale bool
		token string // of the next put
	}{
		{"a", []int{1}, false, "token 1"},
		{"a", nil, true, "token 1"},
		{"", nil, false, ""},
		{"aa", []int{1}, true, "token 2"},
		{"a?", []int{2}, false, "read"},
		{"a?", []int{1, 2}, false, "read"},
		{"a?a", []int{2, 3}, false, "read"},
		{"a?a", []int{2}, true, "token 3"},
	} {
		h := told(tt.story)
		if stale := h.saw(tt.seen, "read"); stale != tt.stale || h.token != tt.token {
			t.Errorf("puts %q, read %v: stale %v, token %q", tt.story, tt.seen, stale, h.token)
		}
	}
}

func TestRefusedPutsAreBounded(t *testing.T) {
	h := told(strings.Repeat("r", maxRefused+10))
	if len(h.refused) != maxRefused || h.refused[0] != 11 || h.refused[maxRefused-1] != maxRefused+10 {
		t.Errorf("%d kept, %v", len(h.refused), h.refused)
	}
}

func TestValuesTellTheirPut(t *testing.T) {
	value := func(n int) string { return string(valueOf("k", n, 100)) }
	if numbers, err := numbersOf("k", []string{value(12), value(7)}, 100); err != nil || !slices.Equal(numbers, []int{7, 12}) {
		t.Errorf("%v, %v", numbers, err)
	}
	for _, v := range []string{"", "k put", "k put x ", "j put 1 .", "k put 1", value(1) + ".", value(1)[:99], value(1)[:99] + "x", " " + value(1)} {
		if numbers, err := numbersOf("k", []string{v}, 100); err == nil {
			t.Errorf("%q is taken for put %v", v, numbers)
		}
	}
}

func TestWindows(t *testing.T) {
	epoch := time.Now()
	at := func(ms int) time.Time { return epoch.Add(time.Duration(ms) * time.Millisecond) }
	trace := Trace{Epoch: epoch}
	for i := range 100 { // one begins each 10 ms and takes i+1 ms
		trace.Requests = append(trace.Requests, Request{
			Start: time.Duration(10*i) * time.Millisecond, Took: time.Duration(i+1) * time.Millisecond,
			Failed: i%50 == 0, Stale: i == 3, Put: i%2 == 0,
		})
	}
	for _, tt := range []struct {
		w                       Window
		requests, failed, stale int
		p50, p99, most          int
	}{
		{Window{From: epoch, Till: at(1000)}, 100, 2, 1, 50, 99, 100},
		{Window{From: epoch, Till: at(1000), Answered: true}, 91, 2, 1, 46, 91, 91},
		{Window{From: at(30), Till: at(40)}, 1, 0, 1, 4, 4, 4},
		{Window{From: epoch, Till: at(1000), Only: func(r Request) bool { return r.Put }}, 50, 2, 0, 49, 99, 99},
		{Window{From: at(2000), Till: at(3000)}, 0, 0, 0, 0, 0, 0},
	} {
		s := trace.Summarize(tt.w)
		ms := func(d time.Duration) int { return int(d / time.Millisecond) }
		if s.Requests != tt.requests || s.Failed != tt.failed || s.Stale != tt.stale ||
			ms(s.P50) != tt.p50 || ms(s.P99) != tt.p99 || ms(s.Max) != tt.most {
			t.Errorf("%+v: %+v, want %v", tt.w, s, tt)
		}
	}
	if s := trace.Summarize(Window{From: epoch, Till: at(1000)}); s.PerSecond != 100 || s.SuccessPercent() != 98 {
		t.Errorf("%+v", s)
	}
}
