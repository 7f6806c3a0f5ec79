package gossip

import (
	"fmt"
	"log/slog"
	"strconv"
	"strings"

	"starling/gossip/state"
	"starling/ring"
)

// enter is the map with this start's record of this node, under the name that it can have. A node that is no member yet
// takes the seat of the one that it is to replace.
func enter(m state.Map, self state.Member, replace ring.NodeID) (state.Map, error) {
	old, known := m.Member(self.ID)
	if known && old.State == state.Removed {
		return m, removed(m, self)
	}
	if !known && !replace.IsZero() {
		var err error
		if m, err = m.With(self).Replace(replace, self.ID); err != nil {
			return m, fmt.Errorf("gossip: replace a member: %w", err)
		}
	}
	name, err := chooseName(m, self, old)
	if err != nil {
		return m, err
	}
	self.Name = name
	if known && (old.Weight != self.Weight || old.Zone != self.Zone) {
		// The ring changes, and may change back: see Advance.
		self.Fence = m.Fence() + 1
	}
	return m.With(self), nil
}

// chooseName is the name that this node goes by: the configured one, or a numbered one where its store was lost and the
// configured name is that of the member that the store made it. Such a member cannot run, since this node has its
// address. A node that was named so goes by the configured name when that is free. Any other name that is taken is
// state.ErrNameTaken. old is this node's record, zero for one that is no member yet.
func chooseName(m state.Map, self, old state.Member) (string, error) {
	holder, taken := m.Holder(self.Name, self.ID)
	switch {
	case !taken || old.Name == self.Name:
		return self.Name, nil
	case isNumbered(old.Name, self.Name):
		return old.Name, nil
	case old.ID.IsZero() && holder.RPC == self.RPC && self.RPC != "":
		return firstFree(m, self), nil
	default:
		return "", m.CheckName(self.Name, self.ID)
	}
}

// firstFree is the first of name-2, name-3, ... that no member has.
func firstFree(m state.Map, self state.Member) string {
	for n := 2; ; n++ {
		name := self.Name + "-" + strconv.Itoa(n)
		if _, taken := m.Holder(name, self.ID); !taken {
			return name
		}
	}
}

// isNumbered says whether name is one that firstFree makes of base.
func isNumbered(name, base string) bool {
	number, ok := strings.CutPrefix(name, base+"-")
	n, err := strconv.Atoi(number)
	return ok && err == nil && n >= 2
}

// warnOfName says what a name other than the configured one means. before is the map without this start.
func warnOfName(logger *slog.Logger, before state.Map, self state.Member, configured string) {
	if self.Name == configured {
		return
	}
	how := "joins as a new member"
	if _, known := before.Member(self.ID); known {
		how = "is the member"
	}
	lost, _ := before.Holder(configured, self.ID)
	logger.Warn(fmt.Sprintf("the store of %[1]s (id %[2]v) is not here: this node %[4]s %[3]s; %[1]s stays a member and keeps "+
		"its place until `starling cluster replace %[1]s --by %[3]s` or `starling cluster remove %[1]s`; "+
		"if its disk only is missing, stop this node and mount it", lost.Name, lost.ID, self.Name, how))
}
