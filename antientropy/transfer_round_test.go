package antientropy

import (
	"fmt"
	"testing"
	"time"

	"starling/ring"
	"starling/store/object"
	"starling/store/version"
)

// A round ends in time, whether snapshots or keys take long, and the next one
// goes on; nothing is sent twice.
func TestRoundsEndInTime(t *testing.T) {
	for name, half := range map[string]bool{"by snapshot": false, "by key": true} {
		keys := 3000
		if half {
			keys = 2 * MaxKeysPage
		}
		t.Run(name, func(t *testing.T) {
			inWorld(t, 4, func(t *testing.T, w *world) {
				refs := w.crowd(uint32(w.current().PendingFor(w.self())[0]), keys)
				if half {
					for _, ref := range refs[:len(refs)/2] {
						_, _ = w.newcomer().merge(ref, w.owners(ref.Partition)[0].get(ref))
					}
				}
				w.settlesWithEverything()
				f := w.filler(func(o *FillerOptions) { o.PageBytes, o.Pace = 32<<10, NewLimit(32<<10) })
				rounds := 0
				for more := true; more; rounds++ {
					start := time.Now()
					var err error
					if more, err = f.round(t.Context()); err != nil {
						t.Fatal(err)
					}
					// It ends with a page of objects for each stream.
					if took := time.Since(start); took > roundTime+2*time.Second {
						t.Errorf("a round took %v", took)
					}
				}
				if w.pending() > 0 || rounds < 2 {
					t.Errorf("%d pending after %d rounds", w.pending(), rounds)
				}
				for ref, n := range w.seen.streamed {
					if n+w.seen.fetched[ref] > 1 {
						t.Fatalf("%v was sent %d times", ref, n+w.seen.fetched[ref])
					}
				}
			})
		})
	}
}

// crowd puts many small keys into one partition, at all its owners.
func (w *world) crowd(p uint32, keys int) (refs []object.Ref) {
	owners := w.owners(p)
	for k := 0; len(refs) < keys; k++ {
		key := fmt.Sprint("k", k)
		if ring.Partition("b", key, partitions) != int(p) {
			continue
		}
		ref := object.Ref{Partition: p, Bucket: "b", Key: key}
		o := written(w.t, 10, version.Dot{Actor: 1, Seq: uint64(k + 1)})
		for _, r := range owners {
			_, _ = r.merge(ref, o)
		}
		refs = append(refs, ref)
	}
	return refs
}

// A partition whose placement changes here while its page is merged is left out,
// and the others of the page are not.
func TestOnePartitionIsLeftOut(t *testing.T) {
	inWorld(t, 4, func(t *testing.T, w *world) {
		w.load(200, 10)
		for _, p := range w.current().PendingFor(w.self()) {
			w.newcomer().refuse = map[uint32]int{uint32(p): 1000}
			w.fill(1)
			if n := w.pending(); n != 1 || w.settled[p] {
				t.Fatalf("%d partitions are pending, of which one refuses", n)
			}
			clear(w.settled)
			w.newcomer().exStore = newExStore()
			w.spread()
		}
	})
}

// An owner that hangs is asked once by each stream, and not for every group.
func TestAnOwnerThatHangsIsLeftAlone(t *testing.T) {
	inWorld(t, 4, func(t *testing.T, w *world) {
		w.load(400, 500)
		calls := 0
		w.fail = func(to ring.NodeID, method string) error {
			if to != w.ids[1] || method == "confirm" {
				return nil
			}
			calls++
			return errLost
		}
		w.fill(1)
		if calls < 1 || calls > 1+DefaultStreams { // and once for sizes
			t.Errorf("it was asked %d times", calls)
		}
	})
}
