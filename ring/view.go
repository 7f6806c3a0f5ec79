package ring

import (
	"encoding/binary"
	"iter"
	"slices"

	"github.com/cespare/xxhash/v2"
)

// Placement is who keeps one partition now, while data moves. Its three lists are disjoint; they belong to the View and
// must not be modified.
//
// A read needs R replies from Owners. A write goes to all three lists and needs W+Extra() acknowledgements from any of
// them; the package's documentation says why that is enough.
type Placement struct {
	Partition int
	// Owners are the first settled nodes in Order: they vote in reads and writes. There are N of them, or all settled ones
	// if these are fewer. Where the ring has fewer than N targets, they are all settled, and draining nodes are settled
	// as well, the owners are one fewer, but never fewer than the targets: so the draining nodes go one by one.
	Owners []NodeID
	// Pending are the targets that are not settled yet, in Order.
	Pending []NodeID
	// Displaced are the settled nodes that are not among Owners, in Order, draining ones included. A node is displaced until
	// it clears its settled bit: up to then another ring could make it an owner again.
	Displaced []NodeID
	// Stamp is a hash of the three lists and the view's fence, never 0. Every replica request carries it, and a replica
	// whose own differs refuses.
	Stamp uint64
}

// Extra is the number of acknowledgements that a write needs on top of W.
func (p Placement) Extra() int { return len(p.Pending) + len(p.Displaced) }

// AppendWriters appends the nodes that a write goes to: owners, pending and displaced nodes.
func (p Placement) AppendWriters(dst []NodeID) []NodeID {
	return append(append(append(dst, p.Owners...), p.Pending...), p.Displaced...)
}

// View is a ring with the settled bits of its members: what a coordinator routes by. It is immutable and safe for
// concurrent use.
type View struct {
	ring       *Ring
	fence      uint64
	settled    bitset // of partition × member
	placements []Placement
}

// NewView is NewFencedView without a fence.
func NewView(r *Ring, settled func(id NodeID, p int) bool) *View { return NewFencedView(r, 0, settled) }

// NewFencedView asks settled once for every member of r and every partition, and works all placements out. Views with
// different fences have different stamps everywhere: raising the fence makes replicas refuse what set out before.
func NewFencedView(r *Ring, fence uint64, settled func(id NodeID, p int) bool) *View {
	v := emptyView(r, fence)
	// Room for the lists of all partitions, for the usual case of few displaced nodes.
	lists := make([]NodeID, 0, r.cfg.Partitions*(r.cfg.Replicas+1))
	for p := range r.cfg.Partitions {
		all, targets := v.ask(settled, p)
		v.placements[p], lists = v.place(p, r.voters(all, targets), lists)
	}
	return v
}

// Next is what NewFencedView would make. Where nothing differs from v it is v itself; and under the same ring and fence
// only the placements of partitions whose bits differ are worked out.
func (v *View) Next(r *Ring, fence uint64, settled func(id NodeID, p int) bool) *View {
	if v.ring != r || v.fence != fence {
		return NewFencedView(r, fence, settled)
	}
	next, same := emptyView(r, fence), true
	copy(next.placements, v.placements)
	for p := range r.cfg.Partitions {
		all, targets := next.ask(settled, p)
		if v.sameBits(next, p) {
			continue
		}
		// Lists of their own: they do not keep those of other partitions in memory.
		next.placements[p], _ = next.place(p, r.voters(all, targets), nil)
		same = false
	}
	if same {
		return v
	}
	return next
}

func emptyView(r *Ring, fence uint64) *View {
	return &View{
		ring:       r,
		fence:      fence,
		settled:    make(bitset, (r.cfg.Partitions*len(r.members)+63)/64),
		placements: make([]Placement, r.cfg.Partitions),
	}
}

// place works the placement of a partition out, from the bits and the number of voters. Its lists are appended to lists.
func (v *View) place(p, voters int, lists []NodeID) (Placement, []NodeID) {
	r, start := v.ring, len(lists)
	row := r.row(p)
	for _, i := range row {
		if len(lists)-start < voters && v.isSettled(p, int(i)) {
			lists = append(lists, r.ids[i])
		}
	}
	owners := len(lists)
	for place, i := range row {
		if place < r.width && !v.isSettled(p, int(i)) {
			lists = append(lists, r.ids[i])
		}
	}
	pending, settled := len(lists), 0
	for _, i := range row {
		if !v.isSettled(p, int(i)) {
			continue
		}
		if settled++; settled > voters {
			lists = append(lists, r.ids[i])
		}
	}
	// No list has room to append to.
	pl := Placement{Partition: p, Owners: lists[start:owners:owners], Pending: lists[owners:pending:pending], Displaced: lists[pending:len(lists):len(lists)]}
	pl.Stamp = stamp(v.fence, pl.Owners, pl.Pending, pl.Displaced)
	return pl, lists
}

// sameBits: the same members are settled in partition p.
func (v *View) sameBits(o *View, p int) bool {
	for i := range v.ring.members {
		if v.isSettled(p, i) != o.isSettled(p, i) {
			return false
		}
	}
	return true
}

// ask notes who is settled in partition p, and counts all and the targets among them.
func (v *View) ask(settled func(id NodeID, p int) bool, p int) (all, targets int) {
	r := v.ring
	for place, i := range r.row(p) {
		if !settled(r.ids[i], p) {
			continue
		}
		v.settled.set(p*len(r.members) + int(i))
		all++
		if place < r.width {
			targets++
		}
	}
	return all, targets
}

// voters is how many of the settled nodes own a partition at most. Owners that are to go where the ring has fewer than N
// targets leave one at a time: a quorum of two fewer could miss what a quorum of the others has.
func (r *Ring) voters(settled, settledTargets int) int {
	if r.width == 0 || settledTargets < r.width {
		return r.cfg.Replicas
	}
	return max(r.width, min(settled, r.cfg.Replicas)-1)
}

func (v *View) isSettled(p, member int) bool { return v.settled.get(p*len(v.ring.members) + member) }

// Ring is the ring of the view.
func (v *View) Ring() *Ring { return v.ring }

// Fence is the fence of the view; see [NewFencedView].
func (v *View) Fence() uint64 { return v.fence }

// Placement is who keeps partition p. It does not allocate.
func (v *View) Placement(p int) Placement { return v.placements[p] }

// Fallbacks walks the nodes that may stand in for partition p when others are down: Order without the owners and the
// pending nodes. The displaced ones are among them, by rank: a reader may well ask them, a writer has them already.
func (v *View) Fallbacks(p int) iter.Seq[NodeID] {
	return func(yield func(NodeID) bool) {
		r, settled, owners := v.ring, 0, len(v.placements[p].Owners)
		for place, i := range r.row(p) {
			if v.isSettled(p, int(i)) {
				settled++
				if settled <= owners {
					continue // an owner
				}
			} else if place < r.width {
				continue // pending
			}
			if !yield(r.ids[i]) {
				return
			}
		}
	}
}

// Short says whether partition p has fewer owners than N, so that its owners, and with them its quorums, become more or
// fewer when a node sets or clears its bit. More is asked of such a node then; see the duties in the documentation of
// the package.
func (v *View) Short(p int) bool { return len(v.placements[p].Owners) < v.ring.cfg.Replicas }

// Turn says whether id, pending for partition p, is the one to settle next: where the partition is [View.Short] that is
// the first of Pending alone.
func (v *View) Turn(id NodeID, p int) bool {
	pending := v.placements[p].Pending
	return slices.Contains(pending, id) && (!v.Short(p) || pending[0] == id)
}

// Draining says whether id is a draining member. A writer leaves no hint with such a node, which is about to go; a
// reader still finds there what it kept before.
func (v *View) Draining(id NodeID) bool {
	i, ok := v.ring.index(id)
	return ok && v.ring.members[i].Draining
}

// PendingFor lists the partitions, ascending, that id is pending for.
func (v *View) PendingFor(id NodeID) []int {
	return v.partitions(func(p *Placement) bool { return slices.Contains(p.Pending, id) })
}

// Displaced lists the partitions, ascending, that id is displaced from: it should clear its settled bit there, and may
// drop its copy when all of Pending are settled and hold what it holds.
func (v *View) Displaced(id NodeID) []int {
	return v.partitions(func(p *Placement) bool { return slices.Contains(p.Displaced, id) })
}

// OwnedBy is the number of partitions that id owns.
func (v *View) OwnedBy(id NodeID) int {
	return len(v.partitions(func(p *Placement) bool { return slices.Contains(p.Owners, id) }))
}

func (v *View) partitions(match func(*Placement) bool) []int {
	var matching []int
	for p := range v.placements {
		if match(&v.placements[p]) {
			matching = append(matching, p)
		}
	}
	return matching
}

// stamp is XXH64 of the lists, each as its length in four bytes (big endian) and its IDs, and of the fence in eight
// bytes unless it is 0; 1 stands for 0. It is a wire format, frozen by testdata/stamp.golden.
func stamp(fence uint64, lists ...[]NodeID) uint64 {
	var d xxhash.Digest
	d.Reset()
	for _, list := range lists {
		var length [4]byte
		binary.BigEndian.PutUint32(length[:], uint32(len(list)))
		_, _ = d.Write(length[:])
		for i := range list {
			_, _ = d.Write(list[i][:])
		}
	}
	if fence > 0 {
		var b [8]byte
		binary.BigEndian.PutUint64(b[:], fence)
		_, _ = d.Write(b[:])
	}
	return max(1, d.Sum64())
}

// bitset is a set of small integers.
type bitset []uint64

func (b bitset) set(i int)      { b[i/64] |= 1 << (i % 64) }
func (b bitset) get(i int) bool { return b[i/64]>>(i%64)&1 != 0 }
