package hint

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

func TestOptions(t *testing.T) {
	good := Options{Store: newMemory(), Deliverer: newCluster()}
	for name, change := range map[string]func(*Options){
		"no store":     func(o *Options) { o.Store = nil },
		"no deliverer": func(o *Options) { o.Deliverer = nil },
		"rate":         func(o *Options) { o.BytesPerSecond = -1 },
		"tick":         func(o *Options) { o.Tick = -time.Second },
		"window":       func(o *Options) { o.MaxWindow = -1 },
		"timeout":      func(o *Options) { o.Timeout = -1 },
	} {
		o := good
		change(&o)
		if _, err := New(o); !errors.Is(err, ErrOptions) {
			t.Errorf("%s: %v", name, err)
		}
	}
	d, err := New(good)
	if err != nil {
		t.Fatal(err)
	}
	o := d.opts
	if o.BytesPerSecond != 8<<20 || o.Tick != 250*time.Millisecond || o.MaxWindow != 32 || o.Timeout != 5*time.Second {
		t.Errorf("defaults %+v", o)
	}
	if got := o.PeerName(nodeID(7)); got != nodeID(7).String() {
		t.Errorf("a target is called %q", got)
	}
	good.Metrics = prometheus.NewRegistry()
	if _, err := New(good); err != nil {
		t.Error(err)
	}
	if _, err := New(good); err == nil || !strings.HasPrefix(err.Error(), "hint: ") {
		t.Errorf("metrics registered twice: %v", err)
	}
}

func TestStateNames(t *testing.T) {
	for s, want := range map[State]string{Waiting: "waiting", Draining: "draining", Idle: "idle"} {
		if s.String() != want {
			t.Errorf("%q, want %q", s, want)
		}
	}
}
