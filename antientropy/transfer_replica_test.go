package antientropy

import (
	"cmp"
	"iter"
	"slices"
	"testing"

	"starling/ring"
	"starling/store/object"
	"starling/store/version"
)

// replica is one node: its store in memory and its gate.
type replica struct {
	*exStore
	id     ring.NodeID
	view   *view
	refuse map[uint32]int // by partition: how many more merges are refused
	// applying runs before each merge; may be nil.
	applying func(object.Entry)
	// dropping runs before each drop, under the gate; may be nil.
	dropping func(partition uint32)
}

func (r *replica) Apply(ref object.Ref, stamp uint64, o object.Object) (object.Written, error) {
	if r.applying != nil {
		r.applying(object.Entry{Ref: ref, Object: o})
	}
	r.view.mu.Lock()
	defer r.view.mu.Unlock()
	pl := r.view.v.Placement(int(ref.Partition))
	if r.refuse[ref.Partition] > 0 {
		r.refuse[ref.Partition]--
		return object.Written{}, ErrRefused
	}
	if pl.Stamp != stamp || !keeps(pl, r.id) {
		return object.Written{}, ErrRefused
	}
	return r.merge(ref, o)
}

func (r *replica) Scan(partition uint32, after object.Ref) iter.Seq2[object.Entry, error] {
	entries := r.behind(partition, after)
	return func(yield func(object.Entry, error) bool) {
		for _, e := range entries {
			if !yield(e, nil) {
				return
			}
		}
	}
}

// entries lists a partition in the order of bucket and key.
func (r *replica) entries(partition uint32) []object.Entry { return r.behind(partition, object.Ref{}) }

func (r *replica) behind(partition uint32, after object.Ref) []object.Entry {
	r.mu.Lock()
	defer r.mu.Unlock()
	var refs []object.Ref
	for _, leaf := range r.objects[partition] {
		for ref := range leaf {
			if compareRefs(ref, after) > 0 {
				refs = append(refs, ref)
			}
		}
	}
	slices.SortFunc(refs, compareRefs)
	entries := make([]object.Entry, len(refs))
	for i, ref := range refs {
		entries[i] = object.Entry{Ref: ref, Object: r.object(ref)}
	}
	return entries
}

func compareRefs(a, b object.Ref) int {
	return cmp.Or(cmp.Compare(a.Bucket, b.Bucket), cmp.Compare(a.Key, b.Key))
}

// get is Get where it cannot fail.
func (r *replica) get(ref object.Ref) object.Object {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.object(ref)
}

func (r *replica) Holds(partition uint32) (bool, error) {
	return len(r.entries(partition)) > 0, r.fail
}

func (r *replica) Bytes(partition uint32) (sum int64, err error) {
	for _, e := range r.entries(partition) {
		sum += int64(sizeOf(e.Ref, e.Object))
	}
	return sum, r.fail
}

func (r *replica) Drop(partition uint32, stamp uint64) error {
	r.view.mu.Lock()
	defer r.view.mu.Unlock()
	if r.view.v.Placement(int(partition)).Stamp != stamp {
		return ErrRefused
	}
	if r.dropping != nil {
		r.dropping(partition)
	}
	for _, e := range r.entries(partition) {
		r.remove(e.Ref)
	}
	return nil
}

// remove deletes a row as a purge does.
func (r *replica) remove(ref object.Ref) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if old := r.object(ref); !old.Absent() {
		r.set(ref, old, object.Object{})
	}
}

// Compared and Admits implement Meter.
func (r *replica) Compared(ring.NodeID, uint32, bool)    {}
func (r *replica) Admits(ring.NodeID, uint32, bool) bool { return true }

// written is an object with one value.
func written(t *testing.T, value int, d version.Dot) object.Object {
	t.Helper()
	return reapWritten(t, object.Sibling{Dot: d, Value: make([]byte, value)})
}

func (r *replica) add(t *testing.T, key string, bytes int, d version.Dot) object.Ref {
	t.Helper()
	ref := object.Ref{Partition: uint32(ring.Partition("b", key, partitions)), Bucket: "b", Key: key}
	if _, err := r.merge(ref, written(t, bytes, d)); err != nil {
		t.Fatal(err)
	}
	return ref
}
