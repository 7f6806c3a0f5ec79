package purge

import (
	"slices"

	"starling/ring"
	"starling/store/version"
)

// takeVerification takes in what a member says of all keys.
func (r *Round) takeVerification(s Step, from ring.NodeID, v Verification) {
	m := r.member(from)
	r.boots[m] = v.Boot
	r.actors.add(v.Actors)
	for n, i := range r.items {
		state := v.States[n]
		if v.Fence != r.view.Fence {
			state = Refused // its answer is about another time
		}
		switch {
		case state != Agreed:
			i.out = true
			r.blockers.count(from, whyState(state, slices.Contains(i.owners, from)), 1)
		case s == Verifying:
			i.note(m, len(r.view.Members), v.HintWrites[n])
		case i.writes[m] != v.HintWrites[n]:
			i.out = true
			r.blockers.count(from, whyWrites, 1)
		}
	}
}

func (i *item) note(member, members int, writes uint64) {
	if i.writes == nil {
		i.writes = make([]uint64, members)
	}
	i.writes[member] = writes
}

// refence takes in what the leader goes by behind the new fence. The proof is
// about the members and owners that were there at the first verification, so a
// change of either ends it.
func (r *Round) refence(v View) {
	if v.Fence <= r.view.Fence || !slices.Equal(v.Members, r.view.Members) {
		for _, m := range changed(r.view.Members, v.Members) {
			r.blockers.say(m, "joined or left during the round")
		}
		r.failed = true
		return
	}
	r.view = v
	for _, i := range r.items {
		pl, ok := v.Place(i.Ref.Partition)
		if !ok || pl.Extra() > 0 || !slices.Equal(pl.Owners, i.owners) {
			i.out = true
		}
		i.Stamp = pl.Stamp
	}
}

// changed lists who is in one of two sorted lists alone.
func changed(a, b []ring.NodeID) []ring.NodeID {
	var ids []ring.NodeID
	for _, pair := range [][2][]ring.NodeID{{a, b}, {b, a}} {
		for _, id := range pair[0] {
			if _, ok := slices.BinarySearchFunc(pair[1], id, ring.NodeID.Compare); !ok {
				ids = append(ids, id)
			}
		}
	}
	return ids
}

// actorSet holds the actors whose entries a pruned vector keeps.
type actorSet map[version.Actor]struct{}

func (s actorSet) add(actors []version.Actor) {
	for _, a := range actors {
		s[a] = struct{}{}
	}
}

// kept is v without the entries of actors that are not in the set.
func (s actorSet) kept(v version.Vector) version.Vector {
	var out version.Vector
	for _, d := range v {
		if _, ok := s[d.Actor]; ok {
			out = append(out, d)
		}
	}
	return out
}

// dropUnprunable leaves alone the keys that pruning would not change: the fence
// is not raised for them.
func (r *Round) dropUnprunable() {
	for _, i := range r.items {
		if i.Reap == Prune && !r.prunable(i) {
			i.out = true
		}
	}
}

func (r *Round) prunable(i *item) bool {
	n := len(r.actors.kept(i.Vector))
	return 0 < n && n < len(i.Vector)
}

// prune works out the vectors of the keys that are to be pruned. It follows the
// second verification: an actor may have been named by a member since the first.
func (r *Round) prune() {
	r.dropUnprunable()
	for _, i := range r.items {
		if i.Reap == Prune && !i.out {
			i.pruned = r.actors.kept(i.Vector)
		}
	}
}
