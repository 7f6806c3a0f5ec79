package hint

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"
)

// Members fail, hang, are busy and go down, hints change, and the holder is
// restarted, all at random. Once that is over, every hint that ever was has
// arrived, and none is left.
func TestNoHintIsLost(t *testing.T) {
	for seed := range uint64(30) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) { inWorld(t, func(w *world) { w.live(seed) }) })
	}
}

func (w *world) live(seed uint64) {
	r := rand.New(rand.NewPCG(seed, 1))
	troubles, troubled := rand.New(rand.NewPCG(seed, 2)), true
	w.cluster.took = func(int, int) time.Duration {
		return time.Duration(troubles.ExpFloat64() * float64(5*time.Millisecond))
	}
	w.cluster.err = func(int) error {
		switch {
		case !troubled || troubles.IntN(4) > 0:
			return nil
		case troubles.IntN(2) == 0:
			return ErrBusy
		}
		return errors.New("test: it hurts")
	}
	w.opts.Timeout = 20 * time.Millisecond
	w.start()
	for step := range 400 {
		target := nodeID(1 + r.IntN(3))
		switch r.IntN(20) {
		case 0:
			w.cluster.setDown(target, r.IntN(2) == 0)
		case 1:
			w.cluster.setPressure(r.Float64())
		case 2:
			w.stop()
			w.start()
		case 3:
			synctest.Wait() // until it runs
			if _, err := w.drainer.Replay(target); err != nil {
				w.t.Error(err)
			}
		default:
			w.hint(target, r.IntN(20), valued(w.t, uint64(step)+1, r.IntN(2000)))
		}
		time.Sleep(time.Duration(r.IntN(50)) * time.Millisecond)
	}
	w.cluster.change(func() { troubled = false })
	for n := range 3 {
		w.cluster.setDown(nodeID(1+n), false)
	}
	w.drained(time.Minute)
}
