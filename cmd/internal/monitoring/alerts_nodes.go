package monitoring

import "time"

// allAnswer keeps an alert about nodes that do not see each other still while a
// node is down: NodeDown says that already.
const allAnswer = `unless on (cluster) (count by (cluster) (up{job="starling"} == 0))`

// nodeAlerts are about nodes, and how they see each other.
func nodeAlerts() []Alert {
	return []Alert{
		{
			Name: "NodeDown", Severity: Warning, For: time.Minute,
			Expr:    `up{job="starling"} == 0`,
			Summary: "{{ $labels.instance }} of {{ $labels.cluster }} does not answer",
			Means: "Prometheus cannot scrape the node: it has ended, its machine is gone, or the network between is. Clients notice little: the next nodes stand in for it and keep its writes as hints. " +
				"It stays a member, and no data moves. The next failure may cost a quorum.",
			Do: []string{
				"`bin/starling status --endpoint` at another node: do the others hold it for dead too? If they do not, only the way from Prometheus is broken.",
				"Look at its log for why it ended, and start it again with its data directory. It gets its hints within a minute or two: *Hints by target* falls to nothing.",
				"A machine or disk that is lost: start a new node in its place, [as described](../operations.md#replace-a-node-that-is-dead-for-good).",
				"Until it is back, stop no other node: `bin/starling safe-to-stop` says so too.",
			},
			Fires: Case{At: 5 * time.Minute, Labels: atTarget(), Series: []string{
				of("up", n1), "1 0x10", of("up", n2), "1x11"}},
			Silent: Case{At: 5 * time.Minute, Series: []string{
				of("up", n1), "1 1 1 0 1 1x10", of("up", n2), "1x11"}},
		},
		{
			Name: "NothingScraped", Severity: Critical, For: 5 * time.Minute,
			Expr:    `absent(up{job="starling"})`,
			Summary: "Prometheus has no Starling node to scrape",
			Means:   "There is no target with job=\"starling\": no other alert can fire, whatever happens.",
			Do: []string{
				"Look at the targets of Prometheus: is the file with the nodes there, and does it name them?",
				"`promtool check config deploy/monitoring/prometheus.yml` says what is wrong with the configuration.",
			},
			Fires:  Case{At: 10 * time.Minute, Labels: map[string]string{"job": "starling"}, Series: []string{`up{job="other"}`, "1x20"}},
			Silent: Case{At: 10 * time.Minute, Series: []string{of("up", n1), "1x20"}},
		},
		{
			Name: "NodeNotReady", Severity: Warning, For: 15 * time.Minute,
			Expr:    `starling_node_ready == 0`,
			Summary: "{{ $labels.instance }} runs and is not ready",
			Means:   "The node answers, and has not joined its cluster, is still being filled, or is leaving. It takes no part, or not its whole part.",
			Do: []string{
				"Its `/readyz` says what it waits for.",
				"It joins: `bin/starling status --watch` shows how far it is. If that stands still, see [TransferStalled](TransferStalled.md).",
				"It has found no cluster: are the addresses of `join` right, and does one of those nodes run?",
			},
			Fires:  Case{At: 20 * time.Minute, Labels: atTarget(), Series: []string{of("starling_node_ready", n1), "0x30"}},
			Silent: Case{At: 20 * time.Minute, Series: []string{of("starling_node_ready", n1), "0x10 1x20"}},
		},
		{
			Name: "NodeRestarting", Severity: Warning,
			Expr:    `changes(process_start_time_seconds{job="starling"}[30m]) > 2`,
			Summary: "{{ $labels.instance }} was started again and again within half an hour",
			Means:   "The process ends and is started by its supervisor. Every start reads its data and catches up, so the node is of little use, and others carry its hints.",
			Do: []string{
				"Its log says why it ends: a log that cannot be written, a directory that is not its own, a member that was removed, memory that ran out (the kernel's log).",
				"Stop the supervisor while you look. A node that is down is better than one that comes and goes.",
			},
			Fires:  Case{At: 30 * time.Minute, Labels: atTarget(), Series: []string{of("process_start_time_seconds", n1), "100x5 200x5 300x5 400x20"}},
			Silent: Case{At: 30 * time.Minute, Series: []string{of("process_start_time_seconds", n1), "100x20 200x20"}},
		},
		{
			Name: "MemberUnreachable", Severity: Warning, For: 5 * time.Minute,
			Expr:    `sum by (cluster, instance) (starling_members{alive="false",state!="removed"}) > 0 ` + allAnswer,
			Summary: "{{ $labels.instance }} holds a member for dead, and all nodes answer Prometheus",
			Means:   "The nodes do not see each other although each of them runs: the network between them is cut, or gossip (UDP and TCP) is blocked. Or a member is down that Prometheus does not know of.",
			Do: []string{
				"`bin/starling status` at two nodes: who holds whom for dead? One column tells a node, two halves tell a network that is split.",
				"Can they reach each other's gossip and RPC ports, UDP too? The advertised addresses must be those that the others can reach.",
				"A member that is not among the targets: add it there; one that is gone for good: [remove or replace it](../operations.md#remove-a-node-that-is-dead-for-good).",
			},
			Fires: Case{At: 10 * time.Minute, Labels: atNode(), Series: []string{
				of("up", n1), "1x20", of("up", n2), "1x20", of("starling_members", n1, `alive="false"`, `state="active"`), "1x20"}},
			Silent: Case{At: 10 * time.Minute, Series: []string{
				of("up", n1), "1x20", of("up", n2), "0x20", of("starling_members", n1, `alive="false"`, `state="active"`), "1x20"}},
		},
		{
			Name: "PeerBreakerOpen", Severity: Warning, For: 5 * time.Minute,
			Expr:    `starling_peer_breaker == 2 ` + allAnswer,
			Summary: "{{ $labels.instance }} has given {{ $labels.peer }} up, and all nodes answer Prometheus",
			Means:   "Calls from the one node to the other failed so often that it asks others instead, and tries again now and then. Writes for the peer become hints.",
			Do: []string{
				"Do other nodes reach the peer? *Breakers* of the node dashboard. If they do, the way between these two is broken: look at RPC addresses, firewalls, and connections.",
				"If none does, the peer hangs: its CPU, its disk ([DiskSlow](DiskSlow.md)), its log ([ProcessStandstill](ProcessStandstill.md)). Restart it if it does not recover.",
			},
			Fires: Case{At: 10 * time.Minute, Labels: atTarget("peer", "n2"), Series: []string{
				of("up", n1), "1x20", of("up", n2), "1x20", of("starling_peer_breaker", n1, `peer="n2"`), "2x20"}},
			Silent: Case{At: 10 * time.Minute, Series: []string{
				of("up", n1), "1x20", of("up", n2), "0x20", of("starling_peer_breaker", n1, `peer="n2"`), "2x20"}},
		},
		{
			Name: "RingDisagreement", Severity: Warning, For: 5 * time.Minute,
			Expr:    `count by (cluster) (count_values by (cluster) ("hash", starling_cluster_map_hash)) > 1`,
			Summary: "The nodes of {{ $labels.cluster }} go by different cluster maps",
			Means:   "Maps spread within seconds; these have differed for minutes. Replicas refuse requests of another placement, so writes are slow or fail, and nothing can settle.",
			Do: []string{
				"`bin/starling status` at each node shows the hash of its map: which nodes are alone?",
				"Is gossip cut ([MemberUnreachable](MemberUnreachable.md))? Once nodes reach each other the maps merge by themselves.",
				"Two clusters under one name: nodes with different cluster IDs never merge. Do the targets have the right `cluster` label?",
			},
			Fires: Case{At: 10 * time.Minute, Labels: inCluster(), Series: []string{
				of("starling_cluster_map_hash", n1), "7000000000000001x20", of("starling_cluster_map_hash", n2), "7000000000000002x20"}},
			Silent: Case{At: 10 * time.Minute, Series: []string{
				of("starling_cluster_map_hash", n1), "7000000000000001x20", of("starling_cluster_map_hash", n2), "7000000000000001x20"}},
		},
		{
			Name: "ClockSkew", Severity: Warning, For: 5 * time.Minute,
			Expr:    `abs(starling_clock_seconds - timestamp(starling_clock_seconds)) > 2`,
			Summary: "The clock of {{ $labels.instance }} is off by more than two seconds",
			Means: "Compared with Prometheus' clock. Siblings do not depend on clocks, but buckets with `conflicts=lww` keep the newest stamp, stamps far in the future are refused, " +
				"and TTLs end by the clock.",
			Do: []string{
				"Does time synchronisation run on that machine (`chronyc tracking`, `timedatectl`)? Mend it; the clock may be stepped while the node runs.",
				"All nodes are off by the same: it is Prometheus' machine.",
			},
			Fires:  Case{At: 10 * time.Minute, Labels: atTarget(), Series: []string{of("starling_clock_seconds", n1), "10+60x20"}},
			Silent: Case{At: 10 * time.Minute, Series: []string{of("starling_clock_seconds", n1), "0+60x20"}},
		},
	}
}
