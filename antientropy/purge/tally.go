package purge

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"starling/ring"
)

// why is a reason that is counted in keys.
type why uint8

const (
	whyRefused why = iota
	whyDiffers
	whyNotSuperseded
	whyHinted
	whyWrites
	whyMoving
	whyUnlisted
	whyKept
	numWhys
)

var whyTexts = [numWhys]string{
	whyRefused:       "goes by another ring, or could not read its copy (keys: %d)",
	whyDiffers:       "owns another object than the other owners (keys: %d)",
	whyNotSuperseded: "holds a copy, as no owner, of what the owners do not know (keys: %d)",
	whyHinted:        "keeps hints (keys: %d)",
	whyWrites:        "wrote hints during the round (keys: %d)",
	whyMoving:        "is being filled, or gives up, the partition (keys: %d)",
	whyUnlisted:      "holds something else than the other owners, or it is not due by its clock (keys: %d)",
	whyKept:          "could not purge all it was asked to (keys: %d)",
}

func whyState(s State, owner bool) why {
	switch {
	case s == Hinted:
		return whyHinted
	case s == Differs && owner:
		return whyDiffers
	case s == Differs:
		return whyNotSuperseded
	default:
		return whyRefused
	}
}

// reasons are what one node stands in the way with.
type reasons struct {
	counts [numWhys]int
	said   string // not counted in keys; the first
}

// tally collects the reasons of all nodes.
type tally map[ring.NodeID]*reasons

func (t tally) of(id ring.NodeID) *reasons {
	if t[id] == nil {
		t[id] = new(reasons)
	}
	return t[id]
}

func (t tally) count(id ring.NodeID, w why, keys int) { t.of(id).counts[w] += keys }

func (t tally) say(id ring.NodeID, reason string) {
	if r := t.of(id); r.said == "" {
		r.said = reason
	}
}

func (t tally) list() []Blocker {
	var list []Blocker
	for _, id := range slices.SortedFunc(maps.Keys(t), ring.NodeID.Compare) {
		list = append(list, Blocker{Node: id, Reason: t[id].text()})
	}
	return list
}

func (r *reasons) text() string {
	var parts []string
	if r.said != "" {
		parts = append(parts, r.said)
	}
	for w, n := range r.counts {
		if n > 0 {
			parts = append(parts, fmt.Sprintf(whyTexts[w], n))
		}
	}
	return strings.Join(parts, "; ")
}
