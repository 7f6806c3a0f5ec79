package main

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

const (
	// skewWarning and skewProblem are how far the clock of a node may be from
	// the median of all.
	skewWarning = 250 * time.Millisecond
	skewProblem = 2 * time.Second
	// leastDescriptors is a limit of descriptors under which a busy node fails.
	leastDescriptors = 8192
	// descriptorShare is how many of them may be in use.
	descriptorShare = 0.8
)

// checkClocks compares each clock with the median. What the way of the question
// may have taken is left out.
func checkClocks(seen []patient) (found []finding) {
	var offsets []time.Duration
	for _, p := range seen {
		offsets = append(offsets, p.offset)
	}
	slices.Sort(offsets)
	for _, p := range seen {
		off := p.offset - offsets[len(offsets)/2]
		side := "ahead of"
		if off < 0 {
			off, side = -off, "behind"
		}
		level := levelWarning
		switch least := off - p.spread; {
		case least < skewWarning:
			continue
		case least >= skewProblem:
			level = levelProblem
		}
		found = append(found, finding{Level: level, Node: p.Name,
			Detail: fmt.Sprintf("its clock is %v %s that of most nodes", off.Round(time.Millisecond), side),
			Advice: "Let NTP or chrony keep the clocks. No write is lost by it, but values expire early or late, and lww buckets have wrong winners among writes that did not see each other."})
	}
	return found
}

// checkNetwork is about ways to members that answer somebody.
func checkNetwork(seen []patient) (found []finding) {
	answers := map[string]bool{}
	for _, p := range seen {
		answers[p.Name] = true
	}
	packets, requests, unseen := map[string][]string{}, map[string][]string{}, map[string][]string{}
	for _, p := range seen {
		if p.reach == nil {
			found = append(found, finding{Level: levelWarning, Node: p.Name, Detail: "it did not say how it reaches the others"})
			continue
		}
		for _, peer := range p.reach.Peers {
			switch {
			case !answers[peer.Name]:
			case !peer.RPC.OK:
				requests[p.Name] = append(requests[p.Name], peer.Name)
			case !peer.Alive:
				unseen[p.Name] = append(unseen[p.Name], peer.Name)
			case !peer.UDP.OK:
				packets[p.Name] = append(packets[p.Name], peer.Name)
			}
		}
	}
	for _, p := range seen {
		if to := requests[p.Name]; len(to) > 0 {
			found = append(found, finding{Level: levelProblem, Node: p.Name, Detail: "its requests do not reach " + strings.Join(to, ", "),
				Advice: "See whether the address that each advertises for RPC can be reached from this node (a firewall, a name that resolves elsewhere)."})
		}
		if to := unseen[p.Name]; len(to) > 0 {
			found = append(found, finding{Level: levelProblem, Node: p.Name, Detail: "it holds for dead, and requests reach: " + strings.Join(to, ", "),
				Advice: "Right after a start it takes some seconds until they have met. Else open the gossip port, TCP and UDP, both ways."})
		}
		if to := packets[p.Name]; len(to) > 0 {
			found = append(found, finding{Level: levelProblem, Node: p.Name, Detail: "its packets (UDP) are not answered by " + strings.Join(to, ", "),
				Advice: "Open the gossip port for UDP both ways. Without it failures are noticed late, and nodes are held for dead that are not."})
		}
	}
	return found
}

// ownSettings are those that differ from node to node, and those that count when
// a cluster is created alone.
var ownSettings = []string{"name", "data_dir", "http", "rpc", "gossip", "advertise_http", "advertise_rpc", "advertise_gossip",
	"join", "replace", "zone", "weight", "partitions", "replicas", "log_level", "log_format"}

// testSettings are those that no node with real data has.
const testSettings = "test_"

func checkSettings(seen []patient) (found []finding) {
	if len(seen) == 0 {
		return nil
	}
	for _, s := range seen[0].host.Settings {
		if slices.Contains(ownSettings, s.Name) || strings.HasPrefix(s.Name, testSettings) {
			continue
		}
		if texts := groups(seen, func(p *patient) string { return p.host.setting(s.Name) }); len(texts) > 1 {
			found = append(found, finding{Level: levelWarning, Detail: s.Name + " is " + strings.Join(texts, "; "),
				Advice: "Give all nodes the same value, unless their machines differ."})
		}
	}
	for _, p := range seen {
		for _, s := range p.host.Settings {
			if strings.HasPrefix(s.Name, testSettings) && s.Source != "default" {
				found = append(found, finding{Level: levelProblem, Node: p.Name, Detail: s.Name + " is " + s.Value + " (" + s.Source + ")",
					Advice: "It is for tests only: leave it out."})
			}
		}
	}
	return found
}

// unsafe are settings that take something away that the store promises.
var unsafe = []struct{ name, value, detail, advice string }{
	{"durability", "none", "acknowledged writes are not on disk: a machine that fails loses minutes of them", "Set durability to sync, unless all copies may be lost."},
	{"durability", "interval", "acknowledged writes are on disk only after durability_interval", "Set durability to sync, unless the last of them may be lost when machines fail together."},
	{"hints_enabled", "false", "nobody keeps writes for owners that are down: they fail sooner, and the owners become equal later", "Set hints_enabled to true."},
	{"antientropy_enabled", "false", "it does not compare its copies, and deleted keys are purged nowhere", "Set antientropy_enabled to true."},
	{"read_repair_enabled", "false", "reads do not mend what they find old", "Set read_repair_enabled to true."},
}

func checkDurability(seen []patient) (found []finding) {
	for _, p := range seen {
		for _, u := range unsafe {
			if p.host.setting(u.name) == u.value {
				found = append(found, finding{Level: levelWarning, Node: p.Name, Detail: u.name + " is " + u.value + ": " + u.detail, Advice: u.advice})
			}
		}
	}
	return found
}

func checkDescriptors(seen []patient) (found []finding) {
	for _, p := range seen {
		limit, open := p.metrics["process_max_fds"], p.metrics["process_open_fds"]
		switch {
		case limit == 0: // not known on this system
		case open > descriptorShare*limit:
			found = append(found, finding{Level: levelProblem, Node: p.Name, Detail: fmt.Sprintf("%.0f of %.0f file descriptors are open", open, limit),
				Advice: "Raise the limit (ulimit -n, LimitNOFILE), or lower max_connections."})
		case limit < leastDescriptors:
			found = append(found, finding{Level: levelWarning, Node: p.Name, Detail: fmt.Sprintf("it may open %.0f file descriptors", limit),
				Advice: fmt.Sprintf("Raise the limit (ulimit -n, LimitNOFILE) to %d or more: each connection and each table takes one.", leastDescriptors)})
		}
	}
	return found
}

func checkDisk(seen []patient) (found []finding) {
	const gib = 1 << 30
	for _, p := range seen {
		used, free := p.metrics["starling_store_disk_used_bytes"], p.metrics["starling_store_disk_free_bytes"]
		switch {
		case p.metrics["starling_store_disk_full"] == 1:
			found = append(found, finding{Level: levelProblem, Node: p.Name, Detail: fmt.Sprintf("its disk is full (%.1f GiB free): it refuses writes", free/gib),
				Advice: "Free space on its disk or give it a larger one, or add nodes."})
		case free > 0 && free < used/2:
			found = append(found, finding{Level: levelWarning, Node: p.Name, Detail: fmt.Sprintf("%.1f GiB are free, and the store uses %.1f GiB", free/gib, used/gib),
				Advice: "Leave half of what is used free: a node that takes over partitions, or compacts, needs it for a while."})
		}
	}
	return found
}
