package load

import (
	"context"
	"math"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestCompare(t *testing.T) {
	const delay = 5 * time.Millisecond
	s := newRecorder()
	s.before = func(http.ResponseWriter, *http.Request) bool {
		time.Sleep(delay)
		return false
	}
	var parts []string
	c, err := Compare(context.Background(), CompareOptions{
		Store: Target{Name: "store", Endpoints: []string{serve(t, s)}}, Echo: Target{Name: "echo", Endpoints: []string{serve(t, Echo(64))}},
		Connections: 2, Records: 10, ValueBytes: 64, Rounds: 2, RoundDuration: 100 * time.Millisecond, WarmUp: time.Millisecond,
		PutGoal: 1e-6, GetGoal: 1e6,
		Progress: func(part string, _ Progress) {
			if len(parts) == 0 || parts[len(parts)-1] != part {
				parts = append(parts, part)
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	const order = "fill|round 1 of 2: echo PUT|round 1 of 2: store PUT|round 1 of 2: echo GET|round 1 of 2: store GET|round 2 of 2: echo PUT"
	if got := strings.Join(parts, "|"); !strings.HasPrefix(got, order) {
		t.Errorf("parts %s", got)
	}
	if len(c.Rounds) != 2 || c.Errors != 0 || len(c.Store) != 4 || !c.PutPass || c.GetPass || c.Pass {
		t.Errorf("%+v", c)
	}
	most := 2 / delay.Seconds() // two connections, each answered after the delay
	for _, r := range c.Rounds {
		if r.StorePut > most || r.StoreGet > most || r.StorePut == 0 || r.StoreGet == 0 {
			t.Errorf("round %+v", r)
		}
		if r.PutRatio != r.StorePut/r.EchoPut || r.GetRatio != r.StoreGet/r.EchoGet {
			t.Errorf("ratios of %+v", r)
		}
	}
}

func TestConclude(t *testing.T) {
	c := Comparison{PutGoal: 0.07, GetGoal: 0.16, Rounds: []Round{
		{EchoPut: 100, PutRatio: 0.05, GetRatio: 0.30},
		{EchoPut: 300, PutRatio: 0.07, GetRatio: 0.10},
		{EchoPut: 200, PutRatio: 0.90, GetRatio: 0.16},
	}}
	c.conclude()
	if c.Median.EchoPut != 200 || c.Median.PutRatio != 0.07 || c.Median.GetRatio != 0.16 || !c.PutPass || !c.GetPass || !c.Pass {
		t.Errorf("%+v", c)
	}
	c.Errors = 1
	if c.conclude(); c.Pass {
		t.Error("passed with errors")
	}
	c.Errors, c.PutGoal = 0, 0.071
	if c.conclude(); c.Pass || c.PutPass {
		t.Error("passed below the goal")
	}
}

func TestMedian(t *testing.T) {
	for _, tc := range []struct {
		in   []float64
		want float64
	}{{nil, 0}, {[]float64{3}, 3}, {[]float64{4, 1}, 2.5}, {[]float64{9, 1, 5}, 5}, {[]float64{9, 1, 5, 7}, 6}} {
		if got := median(tc.in); math.Abs(got-tc.want) > 1e-12 {
			t.Errorf("median(%v) = %v", tc.in, got)
		}
	}
}

func TestCompareWithoutEcho(t *testing.T) {
	gone := func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }
	_, err := Compare(context.Background(), CompareOptions{
		Store:       Target{Endpoints: []string{serve(t, newRecorder())}},
		Echo:        Target{Endpoints: []string{serve(t, http.HandlerFunc(gone))}},
		Connections: 1, Records: 1, Rounds: 1, RoundDuration: 50 * time.Millisecond, WarmUp: time.Millisecond,
	})
	if err == nil || !strings.Contains(err.Error(), "echo server answered nothing") {
		t.Errorf("%v", err)
	}
}

func TestEcho(t *testing.T) {
	url := serve(t, Echo(1024))
	l := newLoad(t, Options{Target: Target{Endpoints: []string{url}}, Connections: 1, Records: 1})
	l.conns[0].begin(context.Background())
	if r, err := l.conns[0].doGet(0); err != nil || r.status != 200 || r.bytes != 1024 {
		t.Errorf("GET: %+v, %v", r, err)
	}
	if r, err := l.conns[0].doPut(0, make([]byte, 1024), ""); err != nil || r.status != 204 || r.bytes != 0 {
		t.Errorf("PUT: %+v, %v", r, err)
	}
}
