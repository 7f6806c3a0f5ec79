package topology

import (
	"fmt"
	"slices"

	"starling/gossip/state"
	"starling/ring"
)

// warnings are the sentences of the plan, what is worst first.
func (p *planner) warnings() []string {
	return slices.Concat(p.warnCopies(), p.warnLeavers(), p.warnWaiting(), p.warnFailures(), p.warnMembers(), p.warnNumbers())
}

// warnCopies is about data that may be lost.
func (p *planner) warnCopies() (w []string) {
	who := list(labels(gone(p.before, p.after), func(state.Member) bool { return true }))
	if n := len(p.plan.Lost); n > 0 {
		w = append(w, fmt.Sprintf("The last complete %s of %s %s with %s: the data is lost but for what hints and partial copies have (partitions %s).",
			verb(n, "copy", "copies"), count(n, "partition"), verb(n, "goes", "go"), who, list(p.plan.Lost)))
	}
	if n := len(p.plan.AtRisk); n > 0 {
		need := count(majority(p.config().Replicas), "complete copy")
		w = append(w, fmt.Sprintf("%s %s fewer than %s until filled again: writes that %s alone acknowledged are lost, and one more loss may take the rest.",
			count(n, "partition"), verb(n, "keeps", "keep"), need, who))
	}
	if n := len(p.plan.Unreachable); n > 0 {
		down := p.down(func(r state.Member) bool {
			return slices.ContainsFunc(p.plan.Unreachable, r.Settled.Get)
		})
		w = append(w, fmt.Sprintf("%s %s complete copies only on members that are down (%s) and cannot be read until one of them is back.",
			count(n, "partition"), verb(n, "has", "have"), list(down)))
	}
	if n := len(empty(p.viewBefore)); n > 0 {
		w = append(w, fmt.Sprintf("%s %s no complete copy on any member now, before this change.",
			count(n, "partition"), verb(n, "has", "have")))
	}
	return w
}

// warnLeavers is about members that go the wrong way.
func (p *planner) warnLeavers() (w []string) {
	up := labels(gone(p.before, p.after), func(r state.Member) bool { return p.alive(r.ID) })
	if len(up) > 0 {
		w = append(w, fmt.Sprintf("%s up: let %s leave instead, to hand over what only %s may have.",
			are(up), verb(len(up), "it", "them"), verb(len(up), "it", "they")))
	}
	if down := p.down(func(r state.Member) bool { return r.State == state.Leaving }); len(down) > 0 {
		w = append(w, fmt.Sprintf("%s down and cannot hand over anything: the leave waits until %s back. A member that is gone for good must be removed or replaced.",
			are(down), verb(len(down), "it is", "they are")))
	}
	return w
}

// warnWaiting is about copies that cannot be made now.
func (p *planner) warnWaiting() (w []string) {
	for _, n := range p.plan.Nodes {
		if n.Down && n.In > 0 {
			w = append(w, fmt.Sprintf("%s is down: the %s that it has to get %s for it.",
				labelOf(p.after, n.ID), count(n.In, "copy"), verb(n.In, "waits", "wait")))
		}
	}
	if p.stuck > 0 {
		w = append(w, fmt.Sprintf("%s cannot be made now, since too few members answer to confirm and give the data: %s.",
			count(p.stuck, "copy"), p.whyStuck()))
	}
	return w
}

// whyStuck names the owners that copies wait for.
func (p *planner) whyStuck() string {
	if len(p.blocked) == 0 {
		return "there is no complete copy, and none was given up by a removal by force"
	}
	return are(p.down(func(r state.Member) bool { return p.blocked[r.ID] })) + " down"
}

// warnFailures is about what the cluster bears.
func (p *planner) warnFailures() (w []string) {
	was, will := p.plan.SurvivesBefore, p.plan.SurvivesAfter
	if n := keepers(p.after); n < p.config().Replicas {
		w = append(w, fmt.Sprintf("%s %s for %d replicas: partitions have %s until more join.",
			count(n, "member"), verb(n, "stays", "stay"), p.config().Replicas, count(n, "copy")))
	}
	if idle := p.idle(); len(idle) > 0 {
		w = append(w, fmt.Sprintf("%s down and counted as failed in what the cluster bears.", are(idle)))
	}
	switch {
	case p.during.Nodes < 0 && was.Nodes >= 0:
		w = append(w, "While the copies are made, some partitions cannot be read and written at quorum.")
	case p.during.Nodes < min(was.Nodes, will.Nodes):
		w = append(w, fmt.Sprintf("While the copies are made, the cluster bears the failure of %s; now it bears %d.",
			none(p.during.Nodes, "member"), was.Nodes))
	}
	switch {
	case will.Nodes < 0:
		w = append(w, "Afterwards some partitions still cannot be read and written at quorum: members that are down must come back, or be removed or replaced.")
	case will.Nodes < was.Nodes:
		w = append(w, fmt.Sprintf("Afterwards the cluster bears the failure of %s; now it bears %d.", none(will.Nodes, "member"), was.Nodes))
	}
	if will.Nodes >= 0 && will.Zones < was.Zones {
		w = append(w, fmt.Sprintf("Afterwards the cluster bears the failure of %s; now it bears %d.", none(will.Zones, "zone"), was.Zones))
	}
	return w
}

// idle are the members that are down and in no other sentence.
func (p *planner) idle() []string {
	return p.down(func(r state.Member) bool {
		e := p.entries[r.ID]
		return e != nil && e.In == 0 && r.State != state.Leaving && !p.blocked[r.ID]
	})
}

// warnMembers is about labels that are likely not meant so.
func (p *planner) warnMembers() (w []string) {
	unzoned := labels(p.newcomers(), func(r state.Member) bool { return r.Zone == "" })
	if len(unzoned) > 0 && slices.ContainsFunc(present(p.before), func(r state.Member) bool { return r.Zone != "" }) {
		w = append(w, fmt.Sprintf("%s no zone, while others have one: members without a zone are taken to fail together.", have(unzoned)))
	}
	for _, dead := range gone(p.before, p.after) {
		now, _ := p.after.Member(dead.ID)
		heir, ok := p.after.Member(now.Heir)
		if ok && (heir.Zone != dead.Zone || heir.Weight != dead.Weight) {
			w = append(w, fmt.Sprintf("%s (zone %q, weight %d) differs from %s (zone %q, weight %d): more moves than what %s had.",
				label(heir), heir.Zone, heir.Weight, label(dead), dead.Zone, dead.Weight, label(dead)))
		}
		if e := p.entries[now.Heir]; e != nil && e.PartitionsBefore > 0 {
			w = append(w, fmt.Sprintf("%s is a target of %s already: with the place of %s it gives up its own.",
				label(heir), count(e.PartitionsBefore, "partition"), label(dead)))
		}
	}
	if q, n := p.config().Partitions, keepers(p.after); n > keepers(p.before) && q < 12*n {
		w = append(w, fmt.Sprintf("%d partitions are few for %s: loads will differ more than usual (12 partitions a member keep them even).",
			q, count(n, "member")))
	}
	return w
}

// warnNumbers says what the plan's numbers are not.
func (p *planner) warnNumbers() (w []string) {
	heirs := map[ring.NodeID]bool{} // their places do not depend on their IDs
	for _, r := range p.after.Members {
		heirs[r.Heir] = true
	}
	unknown := labels(p.newcomers(), func(r state.Member) bool { return r.ID == NewID(r.Name) && !heirs[r.ID] })
	if n := len(unknown); n > 0 {
		w = append(w, fmt.Sprintf("The numbers are an estimate: which partitions %s %s depends on %s that %s will mint.",
			list(unknown), verb(n, "gets", "get"), verb(n, "the ID", "the IDs"), verb(n, "its store", "their stores")))
	}
	if p.owed > 0 {
		w = append(w, fmt.Sprintf("%s that earlier changes still owe %s counted in.", count(p.owed, "copy"), verb(p.owed, "is", "are")))
	}
	return w
}

func (p *planner) config() ring.Config { return p.viewAfter.Ring().Config() }

// newcomers are the members that were not there before.
func (p *planner) newcomers() []state.Member {
	return slices.DeleteFunc(present(p.after), func(r state.Member) bool {
		_, known := p.before.Member(r.ID)
		return known
	})
}

// down are the labels, sorted, of the members after the change that match and are down.
func (p *planner) down(match func(state.Member) bool) []string {
	return labels(present(p.after), func(r state.Member) bool { return match(r) && !p.alive(r.ID) })
}

// labels are the labels, sorted, of the members that match.
func labels(all []state.Member, match func(state.Member) bool) (names []string) {
	for _, r := range all {
		if match(r) {
			names = append(names, label(r))
		}
	}
	slices.Sort(names)
	return names
}
