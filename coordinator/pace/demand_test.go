package pace

import (
	"testing"
	"time"
)

// A node answers so many requests a second, each before anybody looks.
func TestDemandSeesRequestsBetweenTwoLooks(t *testing.T) {
	for _, c := range []struct {
		name      string
		perSecond float64
		want      float64
	}{
		{"none", 0, 0},
		{"few", BusyRate / 2, 0},
		{"as many as make it busy", BusyRate, LeastPressure},
		{"many", 5000, LeastPressure},
	} {
		var d Demand
		start := time.Unix(1_700_000_000, 0)
		for passed := time.Duration(0); passed <= 10*time.Second; passed += 50 * time.Millisecond {
			got := d.Pressure(start.Add(passed), uint64(c.perSecond*passed.Seconds()), 0)
			if passed >= demandWindow && got != c.want {
				t.Fatalf("%s: pressure %v after %v, want %v", c.name, got, passed, c.want)
			}
		}
	}
}

func TestDemandEndsAndLeavesHigherPressureAlone(t *testing.T) {
	var d Demand
	now := time.Unix(1_700_000_000, 0)
	d.Pressure(now, 0, 0)
	now = now.Add(demandWindow)
	if got := d.Pressure(now, 1000, 0.6); got != 0.6 {
		t.Errorf("pressure %v of a busy instant, want it as it is", got)
	}
	if got := d.Pressure(now, 1000, 0); got != LeastPressure {
		t.Errorf("pressure %v between two requests, want %v", got, LeastPressure)
	}
	now = now.Add(demandWindow)
	if got := d.Pressure(now, 1000, 0); got != 0 {
		t.Errorf("pressure %v after a window without requests, want 0", got)
	}
	if got := d.Pressure(now, 1000, 0.1); got != 0.1 {
		t.Errorf("pressure %v of the first request, want 0.1", got)
	}
}
