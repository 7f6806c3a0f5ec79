package ring

import (
	"math/bits"
	"testing"
)

// maxNodes bounds the nodes of an explorer.
const maxNodes = 4

// explorer goes through all that can happen to one key while nodes come and go: who hears of which change when, who
// confirms, copies and settles when, one write of a majority of the owners that its coordinator sees, and one such read
// that begins when the write is acknowledged. All messages may be late, and no node must ever answer.
type explorer struct {
	replicas, nodes int
	facts           []fact
	views           []outlook // by set of facts
	seen            map[scene]bool
	next            []scene

	// What doc.go demands where owners are fewer than N, to be left out.
	outOfTurn, unheard, keepsToItself bool
}

// fact is a change of one node's record.
type fact struct {
	kind factKind
	node int
}

type factKind int

const (
	joins   factKind = iota // said by the node itself, as the next two are
	settles                 // says that it has joined, too
	clears                  // says that it had settled, too
	drains                  // said by anyone
)

// outlook is the placement that a set of facts makes, as sets of nodes.
type outlook struct {
	owners, pending, displaced uint8
	turn                       uint8 // the pending nodes whose turn it is
	short                      bool
	stamp                      uint64
}

func (o outlook) writers() uint8 { return o.owners | o.pending | o.displaced }
func (o outlook) quorum() int    { return bits.OnesCount8(o.owners)/2 + 1 }
func (o outlook) extra() int     { return bits.OnesCount8(o.pending | o.displaced) }

// scene is one state of the world.
type scene struct {
	known   [maxNodes]uint8 // by node: the facts it has heard of
	ways    [maxNodes]way
	holders uint8 // the nodes that have the write
	write   operation
	read    operation
}

// way is how far a node has come in changing its bit under its present stamp.
type way struct {
	confirmed uint8
	copied    bool // what the others had, or what they lack was listed
	listed    bool // the write was
}

type operation struct {
	begun, done bool
	view        uint8 // the facts that its coordinator knew
	answers     uint8 // acknowledgements, or nodes that had nothing
}

func newExplorer(t *testing.T, replicas int, members []Member, settled uint8, facts ...fact) *explorer {
	e := &explorer{replicas: replicas, nodes: len(members), facts: facts, seen: map[scene]bool{}}
	for set := range uint8(1 << len(facts)) {
		e.views = append(e.views, e.outlook(t, members, settled, set))
	}
	return e
}

// outlook is the placement of the members as the set of facts says.
func (e *explorer) outlook(t *testing.T, members []Member, settled, set uint8) outlook {
	var away, draining uint8
	for i, f := range e.facts {
		known, node := set>>i&1 != 0, uint8(1)<<f.node
		switch {
		case f.kind == joins && !known:
			away |= node
		case f.kind == settles && known:
			settled |= node
		case f.kind == clears && known:
			settled &^= node
		case f.kind == drains && known:
			draining |= node
		}
	}
	var present []Member
	node := map[NodeID]uint8{}
	for i, m := range members {
		node[m.ID] = 1 << i
		m.Draining = draining&node[m.ID] != 0
		if away&node[m.ID] == 0 {
			present = append(present, m)
		}
	}
	v := NewView(mustNew(t, Config{1, e.replicas}, present), func(id NodeID, _ int) bool { return settled&node[id] != 0 })
	pl := v.Placement(0)
	o := outlook{short: v.Short(0), stamp: pl.Stamp}
	for i, list := range [][]NodeID{pl.Owners, pl.Pending, pl.Displaced} {
		for _, id := range list {
			*[]*uint8{&o.owners, &o.pending, &o.displaced}[i] |= node[id]
			if v.Turn(id, 0) {
				o.turn |= node[id]
			}
		}
	}
	return o
}

// misses looks for a scene in which a quorum of owners has nothing of the write to tell.
func (e *explorer) misses() bool {
	e.add(scene{})
	for len(e.next) > 0 {
		s := e.next[len(e.next)-1]
		e.next = e.next[:len(e.next)-1]
		if o := e.views[s.read.view]; s.read.begun && o.owners != 0 && bits.OnesCount8(s.read.answers) >= o.quorum() {
			return true
		}
		for node := range e.nodes {
			e.hear(s, node)
			e.change(s, node)
			e.coordinate(s, node)
			e.answer(s, node)
		}
	}
	return false
}

func (e *explorer) add(s scene) {
	if !e.seen[s] {
		e.seen[s] = true
		e.next = append(e.next, s)
	}
}

func (e *explorer) of(s *scene, node int) outlook { return e.views[s.known[node]] }

// hear lets a node learn a fact that another knows, or that comes up.
func (e *explorer) hear(s scene, node int) {
	var spread uint8
	for _, known := range s.known {
		spread |= known
	}
	for i, f := range e.facts {
		comesUp := f.kind == drains || f.kind == joins && f.node == node
		if s.known[node]>>i&1 == 0 && (comesUp || spread>>i&1 != 0) {
			e.add(e.learn(s, node, i))
		}
	}
}

// learn tells a node a fact, with those that the same record says. A new stamp ends what the node was about.
func (e *explorer) learn(s scene, node, at int) scene {
	before, news := e.of(&s, node).stamp, e.facts[at]
	for i, f := range e.facts {
		if i == at || f.node == news.node && news.kind <= clears && f.kind < news.kind {
			s.known[node] |= 1 << i
		}
	}
	if e.of(&s, node).stamp != before {
		s.ways[node] = way{}
	}
	return s
}

// change lets a node go on towards setting or clearing its bit.
func (e *explorer) change(s scene, node int) {
	o, me := e.of(&s, node), uint8(1)<<node
	kind := clears
	if o.pending&me != 0 && (e.outOfTurn || o.turn&me != 0) {
		kind = settles
	} else if o.displaced&me == 0 {
		return
	}
	for at, f := range e.facts {
		if f != (fact{kind, node}) || s.known[node]>>at&1 != 0 {
			continue
		}
		e.confirm(s, node, kind)
		switch my := s.ways[node]; {
		case !e.confirmed(o, my, kind, me):
		case !my.copied:
			e.add(e.copied(s, node, kind))
		default:
			if my.listed && o.short && !e.keepsToItself {
				s.holders |= o.owners // they were given what was listed
			}
			e.add(e.learn(s, node, at))
		}
	}
}

// confirm has one more node say that it goes by the same stamp.
func (e *explorer) confirm(s scene, node int, kind factKind) {
	o := e.of(&s, node)
	for other := range e.nodes {
		asked := o.owners
		if kind == settles && o.short && !e.unheard {
			asked |= o.pending &^ (1 << node)
		}
		if !s.ways[node].copied && asked>>other&1 != 0 && e.of(&s, other).stamp == o.stamp {
			more := s
			more.ways[node].confirmed |= 1 << other
			e.add(more)
		}
	}
}

func (e *explorer) confirmed(o outlook, my way, kind factKind, me uint8) bool {
	owners := bits.OnesCount8(my.confirmed & o.owners)
	switch {
	case o.owners == 0:
		return false
	case kind == clears:
		return my.confirmed == o.owners
	case o.short && !e.unheard:
		return owners >= o.quorum() && my.confirmed&o.pending == o.pending&^me
	default:
		return owners >= o.quorum()
	}
}

// copied has a node that settles copy from those that confirmed, and one that clears its bit list what it has.
func (e *explorer) copied(s scene, node int, kind factKind) scene {
	my := &s.ways[node]
	my.copied = true
	switch {
	case kind == clears:
		my.listed = s.holders>>node&1 != 0
	case s.holders&my.confirmed != 0:
		s.holders |= 1 << node
	}
	return s
}

// coordinate has a node begin the write, or, when that is done, the read.
func (e *explorer) coordinate(s scene, node int) {
	switch {
	case !s.write.begun && e.of(&s, node).owners != 0:
		s.write = operation{begun: true, view: s.known[node]}
	case s.write.done && !s.read.begun:
		s.read = operation{begun: true, view: s.known[node]}
	default:
		return
	}
	e.add(s)
}

// answer has a node acknowledge the write, or answer the read that it has nothing.
func (e *explorer) answer(s scene, node int) {
	me := uint8(1) << node
	if s.read.begun {
		o := e.views[s.read.view]
		if o.owners&^s.holders&me != 0 && e.of(&s, node).stamp == o.stamp {
			s.read.answers |= me
			e.add(s)
		}
		return
	}
	o := e.views[s.write.view]
	if !s.write.begun || s.write.done || o.writers()&me == 0 || e.of(&s, node).stamp != o.stamp {
		return
	}
	s.holders |= me
	s.write.answers |= me
	if bits.OnesCount8(s.write.answers) == o.quorum()+o.extra() {
		s.write = operation{begun: true, done: true} // what it was is of no matter now
	}
	e.add(s)
}

// TestMajoritiesMeet: where quorums are majorities of the owners there are, however few, no read misses a write while
// nodes come and go. It does where one of the rules for partitions with few owners is left out.
func TestMajoritiesMeet(t *testing.T) {
	whole := func(*explorer) {}
	for _, c := range []struct {
		what            string
		replicas, nodes int
		settled         uint8
		facts           []fact
		without         func(*explorer)
		misses          bool
	}{
		{"from 3 nodes to 1 at once", 3, 3, 0b111, []fact{{drains, 1}, {drains, 2}, {clears, 1}, {clears, 2}}, whole, false},
		{"from 1 node to 3 at once", 3, 3, 0b001, []fact{{joins, 1}, {joins, 2}, {settles, 1}, {settles, 2}}, whole, false},
		{"one of 2 leaves, another joins", 3, 3, 0b011, []fact{{joins, 2}, {settles, 2}, {drains, 1}, {clears, 1}}, whole, false},
		{"2 of 4 leave", 4, 4, 0b1111, []fact{{drains, 1}, {drains, 2}, {clears, 1}, {clears, 2}}, whole, false},
		{"4 settled, 3 leave one by one", 3, 4, 0b1111, []fact{{drains, 1}, {drains, 2}, {clears, 1}, {clears, 2}, {clears, 3}}, whole, false},
		{"from 2 nodes to 4 at once", 4, 4, 0b0011, []fact{{joins, 2}, {joins, 3}, {settles, 2}, {settles, 3}}, whole, false},

		{"the leavers keep what they have", 3, 3, 0b111, []fact{{drains, 1}, {drains, 2}, {clears, 1}, {clears, 2}},
			func(e *explorer) { e.keepsToItself = true }, true},
		{"two settle at once", 3, 3, 0b001, []fact{{joins, 1}, {joins, 2}, {settles, 1}, {settles, 2}},
			func(e *explorer) { e.outOfTurn = true }, true},
		{"two settle without having heard of each other", 3, 3, 0b001, []fact{{joins, 1}, {joins, 2}, {settles, 1}, {settles, 2}},
			func(e *explorer) { e.unheard = true }, true},
	} {
		e := newExplorer(t, c.replicas, equals(1, c.nodes), c.settled, c.facts...)
		c.without(e)
		if got := e.misses(); got != c.misses {
			t.Errorf("%s: a read misses a write: %v, want %v", c.what, got, c.misses)
		}
		if !c.misses && len(e.seen) < 1000 {
			t.Errorf("%s: explored %d scenes only", c.what, len(e.seen))
		}
	}
}
