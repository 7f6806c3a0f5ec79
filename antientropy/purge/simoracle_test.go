package purge

import (
	"fmt"

	"starling/store/object"
	"starling/store/version"
)

// write is what the oracle knows of a put or a delete.
type write struct {
	ref       object.Ref
	tombstone bool
	// acked: its client was told. superseded: a write whose client had seen it
	// was made. dead: that was forgotten at an owner, by a purge.
	acked, superseded, dead bool
}

// oracle watches from outside. It knows every write that was ever made.
type oracle struct {
	w       *world
	writes  map[version.Dot]*write
	failure string
}

func (o *oracle) fail(format string, args ...any) {
	if o.failure == "" {
		o.failure = fmt.Sprintf("step %d: ", o.w.stats.steps) + fmt.Sprintf(format, args...)
	}
}

func (o *oracle) minted(ref object.Ref, s object.Sibling, c version.Context) {
	if o.writes[s.Dot] != nil {
		o.fail("the dot %v was used before", s.Dot)
	}
	for d, earlier := range o.writes {
		if earlier.ref == ref && c.Covers(d) {
			earlier.superseded = true
		}
	}
	o.writes[s.Dot] = &write{ref: ref, tombstone: s.Tombstone}
}

func (o *oracle) acked(d version.Dot) { o.writes[d].acked = true }

// reaped: an owner has next where it had old. What old knew to be superseded and
// next does not must never be seen again.
func (o *oracle) reaped(ref object.Ref, old, next object.Object) {
	for d, x := range o.writes {
		if x.ref == ref && old.Vector.Covers(d) && !next.Vector.Covers(d) {
			x.dead = true
		}
	}
	o.lookAtAll()
}

// look: nothing dead comes back to life.
func (o *oracle) look(x *member, at object.Object) {
	for _, s := range at.Siblings {
		if !s.Tombstone && o.writes[s.Dot].dead {
			o.fail("%v was superseded and purged, and member %d has it again", s.Dot, x.id)
		}
	}
}

// lookAtAll: and nothing that lives is lost.
func (o *oracle) lookAtAll() {
	alive := map[version.Dot]bool{}
	see := func(x *member, at object.Object) {
		o.look(x, at)
		for _, s := range at.Siblings {
			alive[s.Dot] = true
		}
	}
	for _, x := range o.w.members {
		for _, at := range x.rows {
			see(x, at)
		}
		for _, at := range x.hints {
			see(x, at)
		}
	}
	for d, x := range o.writes {
		if x.acked && !x.superseded && !x.tombstone && !alive[d] {
			o.fail("%v was acknowledged, never superseded, and is lost", d)
		}
	}
}

// converged is looked at in the end: all owners hold the same, and what is
// deleted is gone without a trace, or somebody is named for it.
func (o *oracle) converged(last Result) {
	o.lookAtAll()
	owners := o.w.members[0].pl.Owners
	for _, ref := range o.w.refs {
		first := o.w.members[simIndex(owners[0])].rows[ref]
		for _, id := range owners {
			at := o.w.members[simIndex(id)].rows[ref]
			if !at.Equal(first) {
				o.fail("in the end the owners of %v differ: %v, %v", ref, first, at)
			}
			for d, x := range o.writes {
				if x.ref == ref && x.acked && !x.superseded && !x.tombstone && !has(at, d) {
					o.fail("in the end %v is not at member %d", d, simIndex(id))
				}
			}
		}
		if !first.Absent() && len(first.Live(0)) == 0 && len(last.Blockers) == 0 {
			o.fail("in the end the tombstone of %v is still there and nobody is to blame", ref)
		}
	}
}

func has(o object.Object, d version.Dot) bool {
	for _, s := range o.Siblings {
		if s.Dot == d {
			return true
		}
	}
	return false
}
