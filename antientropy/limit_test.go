package antientropy

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestALimitIsChangedForAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := NewLimit(1000)
		expect := func(rate int64, until time.Time) {
			t.Helper()
			got, end := l.Now()
			if got != rate || !end.Equal(until) || l.Rate() != rate || l.Setting() != 1000 {
				t.Errorf("limit %d until %v, want %d until %v", got, end, rate, until)
			}
		}
		expect(1000, time.Time{})
		end := time.Now().Add(time.Hour)
		l.Change(5000, end)
		expect(5000, end)
		l.Change(0, end)
		expect(0, end)
		time.Sleep(time.Until(end) - time.Nanosecond)
		expect(0, end)
		time.Sleep(time.Nanosecond)
		expect(1000, time.Time{})
		l.Change(-1, time.Now().Add(time.Hour))
		if l.Rate() != 0 {
			t.Errorf("a rate below 0 lets %d through", l.Rate())
		}
		l.Reset()
		expect(1000, time.Time{})
	})
}
