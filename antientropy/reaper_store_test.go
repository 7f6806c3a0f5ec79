package antientropy

import (
	"errors"
	"iter"
	"slices"

	"starling/antientropy/purge"
	"starling/store/object"
	"starling/store/version"
)

// The store of a node.

func (x *reapNode) Candidates(p uint32, after object.Ref, dueBeforeMS int64) iter.Seq2[Candidate, error] {
	x.mu.Lock()
	defer x.mu.Unlock()
	var list []Candidate
	for ref, o := range x.objects {
		if ref.Partition != p || purge.CompareRefs(ref, after) <= 0 || o.Siblings[0].ModifiedMS >= dueBeforeMS {
			continue
		}
		c := Candidate{Ref: ref, Hash: o.Hash(ref.Bucket, ref.Key), Vector: o.Vector, Reap: ReapDelete}
		if !mayGo(o) {
			c.Reap = ReapPrune
		}
		list = append(list, c)
	}
	slices.SortFunc(list, func(a, b Candidate) int { return purge.CompareRefs(a.Ref, b.Ref) })
	broken := x.broken
	return func(yield func(Candidate, error) bool) {
		if broken != nil {
			yield(Candidate{}, broken)
			return
		}
		for _, c := range list {
			if !yield(c, nil) {
				return
			}
		}
	}
}

func (x *reapNode) Get(ref object.Ref) (object.Object, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.objects[ref], x.broken
}

func (x *reapNode) Hinted(ref object.Ref) ([]object.Hint, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	hints := make([]object.Hint, x.hints[ref])
	if x.looks != nil {
		x.looks()
	}
	return hints, nil
}

func (x *reapNode) HintWrites(p uint32) uint64 {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.writes[p]
}

func (x *reapNode) Actors(uint32) []version.Actor {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.actors
}

func (x *reapNode) setActors(actors ...version.Actor) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.actors = actors
}

func (x *reapNode) Purge(ref object.Ref, hash uint64) (bool, func() error, error) {
	return x.change(ref, hash, object.Object{})
}

func (x *reapNode) Prune(ref object.Ref, hash uint64, v version.Vector) (bool, func() error, error) {
	x.mu.Lock()
	siblings := x.objects[ref].Siblings
	x.mu.Unlock()
	return x.change(ref, hash, object.Object{Vector: v, Siblings: siblings})
}

func (x *reapNode) change(ref object.Ref, hash uint64, o object.Object) (bool, func() error, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	wait := func() error {
		x.mu.Lock()
		defer x.mu.Unlock()
		x.synced++
		return nil
	}
	old := x.objects[ref]
	if old.Absent() || old.Hash(ref.Bucket, ref.Key) != hash || old.Equal(o) {
		return false, wait, nil
	}
	if x.objects[ref] = o; o.Absent() {
		delete(x.objects, ref)
	}
	return true, wait, nil
}

// Under implements Gate.
func (x *reapNode) Under(ref object.Ref, stamp uint64, do func() error) error {
	if x.refuse || x.view.View().Placement(int(ref.Partition)).Stamp != stamp {
		return errors.New("stale ring")
	}
	return do()
}
