package api

import (
	"fmt"
	"strings"

	"starling/coordinator"
	"starling/gossip/state"
	"starling/ring"
)

// verdict says in a sentence what an explanation comes to, for the person who
// has to decide whether something is wrong.
func verdict(e *coordinator.Explanation, m state.Map) string {
	v := verdictOf{e: e, m: m}
	v.compareOwners()
	v.compareOthers()
	v.namePromises()
	return strings.Join(v.clauses, "; ")
}

type verdictOf struct {
	e       *coordinator.Explanation
	m       state.Map
	clauses []string
	// newest is what the others are compared with; nil if nobody answered.
	newest *coordinator.Copy
}

func (v *verdictOf) say(format string, args ...any) {
	v.clauses = append(v.clauses, fmt.Sprintf(format, args...))
}

// compareOwners says how many owners hold the newest version, and what that is.
func (v *verdictOf) compareOwners() {
	owners, answered, same := 0, 0, 0
	for i := range v.e.Replicas {
		r := &v.e.Replicas[i]
		if r.Role != coordinator.RoleOwner {
			continue
		}
		owners++
		if r.Err != nil {
			continue
		}
		answered++
		switch c := &r.Reply.Copy; {
		case v.newest == nil || c.Hash != v.newest.Hash && c.Vector.Descends(v.newest.Vector):
			v.newest, same = c, 1
		case c.Hash == v.newest.Hash:
			same++
		}
	}
	switch {
	case answered == 0:
		v.say("none of %d owners answered", owners)
	case v.newest.Hash == 0:
		v.say("%d of %d owners %s no version", same, owners, verb(same, "holds", "hold"))
	case same == answered:
		v.say("%d of %d owners %s the same version%s", same, owners, verb(same, "holds", "hold"), describe(v.newest))
	default:
		v.say("%d of %d owners %s version %s%s", same, owners, verb(same, "holds", "hold"), copyHash(v.newest.Hash), describe(v.newest))
	}
}

// describe adds what is not usual about a version.
func describe(c *coordinator.Copy) string {
	live := 0
	for _, s := range c.Siblings {
		if !s.Tombstone {
			live++
		}
	}
	switch {
	case live == 0:
		return ", a delete"
	case live > 1:
		return fmt.Sprintf(", with %d siblings", live)
	default:
		return ""
	}
}

// compareOthers says who is down and who holds another version.
func (v *verdictOf) compareOthers() {
	for i := range v.e.Replicas {
		r := &v.e.Replicas[i]
		if r.Role == coordinator.RoleFallback {
			continue
		}
		name := nodeName(v.m, r.Node)
		if r.Role != coordinator.RoleOwner {
			name = r.Role.String() + " " + name
		}
		switch c := &r.Reply.Copy; {
		case r.Err != nil && !r.Alive:
			v.say("%s is down", name)
		case r.Err != nil:
			v.say("%s did not answer", name)
		case v.newest == nil || c.Hash == v.newest.Hash:
		case c.Hash == 0:
			v.say("%s holds no version", name)
		case v.newest.Vector.Descends(c.Vector):
			v.say("%s holds an older version", name)
		default:
			v.say("%s holds a version that has seen other writes", name)
		}
	}
}

// namePromises says who holds hints for whom.
func (v *verdictOf) namePromises() {
	holders := map[ring.NodeID][]string{}
	var targets []ring.NodeID // in the order of the ring
	for i := range v.e.Replicas {
		r := &v.e.Replicas[i]
		if r.Err != nil {
			continue
		}
		for _, h := range r.Reply.Hints {
			if holders[h.For] == nil {
				targets = append(targets, h.For)
			}
			holders[h.For] = append(holders[h.For], nodeName(v.m, r.Node))
		}
	}
	for _, id := range targets {
		names := holders[id]
		v.say("%s %s a hint for %s", strings.Join(names, ", "), verb(len(names), "holds", "hold"), nodeName(v.m, id))
	}
}

func verb(n int, one, several string) string {
	if n == 1 {
		return one
	}
	return several
}
