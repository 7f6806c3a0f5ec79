package state

import (
	"fmt"
	"strings"

	"starling/ring"
)

// Find is the member that an administrator means by nameOrID: an ID as ring.NodeID writes it, or a name. A removed
// member's name counts only if no other member has it. If no member is meant, or several are, the error is
// ErrUnknownMember and lists those there are.
func (m Map) Find(nameOrID string) (Member, error) {
	if id, err := ring.ParseNodeID(nameOrID); err == nil {
		if r, ok := m.Member(id); ok {
			return r, nil
		}
	}
	var present, removed []Member
	for _, r := range m.Members {
		switch {
		case r.Name != nameOrID:
		case r.State == Removed:
			removed = append(removed, r)
		default:
			present = append(present, r)
		}
	}
	if len(present) == 0 {
		present = removed
	}
	switch len(present) {
	case 1:
		return present[0], nil
	case 0:
		return Member{}, fmt.Errorf("%w: %q: there are %s", ErrUnknownMember, nameOrID, m.names())
	default:
		return Member{}, fmt.Errorf("%w: %q is the name of %s: give the ID", ErrUnknownMember, nameOrID, list(present))
	}
}

// names lists the members that are not removed.
func (m Map) names() string {
	var present []Member
	for _, r := range m.Members {
		if r.State != Removed {
			present = append(present, r)
		}
	}
	return list(present)
}

// maxListed bounds the members that an error lists.
const maxListed = 32

// list names members with their IDs and states.
func list(members []Member) string {
	if len(members) == 0 {
		return "none"
	}
	var b strings.Builder
	for i, r := range members {
		if i == maxListed {
			fmt.Fprintf(&b, " and %d more", len(members)-i)
			break
		}
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%s (%v, %v)", r.Name, r.ID, r.State)
	}
	return b.String()
}
