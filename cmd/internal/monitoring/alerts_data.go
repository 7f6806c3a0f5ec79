package monitoring

import "time"

// hintAlerts are about the writes that nodes keep for others.
func hintAlerts() []Alert {
	return []Alert{
		{
			Name: "HintsNotDelivered", Severity: Warning, For: 10 * time.Minute,
			Expr:    `sum by (cluster, peer) (min_over_time(starling_hints_pending[30m])) > 0 ` + allAnswer,
			Summary: "Hints for {{ $labels.peer }} have waited for more than half an hour, and all nodes answer",
			Means:   "Other nodes keep writes for this one and do not get rid of them, although nothing seems to be down. Until they are delivered it lacks those writes, and no deleted key of theirs is purged.",
			Do: []string{
				"`bin/starling hints ls` says who holds how many for whom; *Deliveries by result* of the convergence dashboard how tries end.",
				"`failed`: see the holder's log; the way to the peer may be broken ([PeerBreakerOpen](PeerBreakerOpen.md)). `busy`: clients come first; the pace is `hints_bytes_per_second`.",
				"`bin/starling hints replay --target` with the peer's name has all of them tried now.",
				"The peer is a member that is gone for good: [remove or replace it](../operations.md#remove-a-node-that-is-dead-for-good); its hints go to those that take over.",
			},
			Fires: Case{At: 50 * time.Minute, Labels: inCluster("peer", "n2"), Series: []string{
				of("up", n1), "1x60", of("up", n2), "1x60", of("starling_hints_pending", n1, `peer="n2"`), "40x60"}},
			Silent: Case{At: 50 * time.Minute, Series: []string{
				of("up", n1), "1x60", of("up", n2), "1x60", of("starling_hints_pending", n1, `peer="n2"`), "40x20 0x40"}},
		},
		{
			Name: "HintSpaceLow", Severity: Warning, For: 5 * time.Minute,
			Expr:    `starling_store_hint_bytes / (starling_store_hints_limit_bytes > 0) > 0.7`,
			Summary: "The room for hints of {{ $labels.instance }} is more than 70 % used",
			Means:   "A node has been away for long, under many writes. When the room is used up writes that need a stand-in are refused with 503: hints are never dropped.",
			Do: []string{
				"Bring back the node that the hints are for: *Hints by target* names it. See [NodeDown](NodeDown.md).",
				"If it does not come back soon, replace or remove it: its hints then go to those that take over.",
				"If the disk has room, start the holders with a higher `hints_max_bytes`, one at a time.",
			},
			Fires: Case{At: 10 * time.Minute, Labels: atTarget(), Series: []string{
				of("starling_store_hint_bytes", n1), "800x20", of("starling_store_hints_limit_bytes", n1), "1000x20"}},
			Silent: Case{At: 10 * time.Minute, Series: []string{
				of("starling_store_hint_bytes", n1), "600x20", of("starling_store_hints_limit_bytes", n1), "1000x20"}},
		},
		{
			Name: "HintsRefused", Severity: Critical, For: 2 * time.Minute,
			Expr:    `rate(starling_store_hints_refused_total[5m]) > 0`,
			Summary: "{{ $labels.instance }} has no room for hints: writes fail",
			Means:   "Writes of keys that have an owner down find no stand-in with room and are refused with 503 (hints-full). What was acknowledged is safe.",
			Do: []string{
				"Bring back the node that is down: that frees the room, as fast as the hints are delivered.",
				"It does not come back: [replace](../operations.md#replace-a-node-that-is-dead-for-good) or remove it.",
				"In the meantime a higher `hints_max_bytes` (and `hints_max_target_bytes`) at the holders lets writes through, if their disks have room.",
			},
			Fires:  Case{At: 10 * time.Minute, Labels: atTarget(), Series: []string{of("starling_store_hints_refused_total", n1), "0+5x20"}},
			Silent: Case{At: 10 * time.Minute, Series: []string{of("starling_store_hints_refused_total", n1), "5x20"}},
		},
	}
}

// convergenceAlerts are about replicas that are to become equal, and data that
// moves.
func convergenceAlerts() []Alert {
	return []Alert{
		{
			Name: "ConvergenceStale", Severity: Warning, For: 10 * time.Minute,
			Expr:    `cluster:starling_antientropy_oldest_proof_seconds:max > 3600`,
			Summary: "Two replicas of {{ $labels.cluster }} have not been proven equal for more than an hour",
			Means: "Anti-entropy compares every pair of owners all the time, within seconds when all is well. For a pair that it could not compare nobody knows what differs: " +
				"reads at a quorum are right, but a copy may be behind, and the next failure may leave only that one.",
			Do: []string{
				"`bin/starling convergence` lists the pairs and what stands in the way.",
				"An owner is down: nothing to compare with until it is back or replaced.",
				"All are up: *Comparisons by result* of the convergence dashboard. `failed`: see [AntientropyFailing](AntientropyFailing.md). `busy` or `unfinished`: raise `antientropy_bytes_per_second`, or clients leave no room.",
				"`antientropy_enabled` is false somewhere? `bin/starling config show` there.",
			},
			Fires:  Case{At: 15 * time.Minute, Labels: inCluster(), Series: []string{of("starling_antientropy_oldest_proof_seconds", n1), "4000+60x20"}},
			Silent: Case{At: 15 * time.Minute, Series: []string{of("starling_antientropy_oldest_proof_seconds", n1), "12x20"}},
		},
		{
			Name: "AntientropyFailing", Severity: Warning, For: 15 * time.Minute,
			Expr:    `instance:starling_antientropy_failures:ratio_rate5m > 0.5 ` + allAnswer,
			Summary: "More than half of the comparisons that {{ $labels.instance }} begins fail, and all nodes answer",
			Means:   "Replicas are not being made equal by this node. Differences stay until reads repair them, and deleted keys are not purged.",
			Do: []string{
				"The node's log says why comparisons fail: an unreachable peer ([PeerBreakerOpen](PeerBreakerOpen.md)), a damaged block ([CorruptionDetected](CorruptionDetected.md)), timeouts ([DiskSlow](DiskSlow.md)).",
				"`bin/starling repair start --node` with its name has all of its pairs compared now; `bin/starling repair status` shows how that goes.",
			},
			Fires: Case{At: 30 * time.Minute, Labels: atNode(), Series: []string{
				of("up", n1), "1x40", of("starling_antientropy_exchanges_total", n1, `result="failed"`), "0+60x40", of("starling_antientropy_exchanges_total", n1, `result="equal"`), "0+30x40"}},
			Silent: Case{At: 30 * time.Minute, Series: []string{
				of("up", n1), "1x40", of("starling_antientropy_exchanges_total", n1, `result="failed"`), "0+1x40", of("starling_antientropy_exchanges_total", n1, `result="equal"`), "0+60x40"}},
		},
		{
			Name: "PurgeBlocked", Severity: Warning, For: 2 * time.Hour,
			Expr:    `max by (cluster) (starling_purge_blockers) > 0`,
			Summary: "Deleted keys of {{ $labels.cluster }} have not been purged for two hours",
			Means:   "A deleted key goes for good once every member has been asked and nobody can bring it back. One member that is down, or keeps hints, blocks that. Deletes are in force all the same; they take space and time.",
			Do: []string{
				"`bin/starling convergence` names the members and the reasons.",
				"Bring the member back, or remove it if it is gone for good. Hints: see [HintsNotDelivered](HintsNotDelivered.md). A transfer: wait for it.",
				"*Deleted keys* of the convergence dashboard shows how many wait. More on [deletes](../deletes.md).",
			},
			Fires:  Case{At: 150 * time.Minute, Labels: inCluster(), Series: []string{of("starling_purge_blockers", n1), "1x160", of("starling_purge_blockers", n2), "0x160"}},
			Silent: Case{At: 150 * time.Minute, Series: []string{of("starling_purge_blockers", n1), "1x60 0 1x100", of("starling_purge_blockers", n2), "0x160"}},
		},
		{
			Name: "TransferStalled", Severity: Warning, For: 15 * time.Minute,
			Expr: `sum by (cluster, instance) (starling_pending_partitions) > 0
and sum by (cluster, instance) (increase(starling_transfer_received_total{unit="bytes"}[15m])) == 0
unless sum by (cluster, instance) (starling_transfer_pace_bytes_per_second) == 0`,
			Summary: "{{ $labels.instance }} waits for partitions and receives nothing",
			Means:   "The node is to own partitions that it does not hold yet, and no data has come for a quarter of an hour. Until it is filled, writes of those partitions need one acknowledgement more, and nobody may leave.",
			Do: []string{
				"`bin/starling status --watch`: which node is it, how far is it? *Filling* of the convergence dashboard.",
				"Does somebody hold transfers at the owners? (Where they are held at the node itself there is no alert.) `bin/starling cluster pace` says at which node and until when, `bin/starling cluster pace default` lets them go on.",
				"An owner that is to be asked is down: bring it back. Every live owner has to agree before a partition settles.",
				"Maps differ: [RingDisagreement](RingDisagreement.md). The disk of the new node is full: [DiskFull](DiskFull.md).",
				"Its log says which owner does not answer. Restarting it is safe: it goes on where it was.",
			},
			Fires: Case{At: 50 * time.Minute, Labels: atNode(), Series: []string{
				of("starling_pending_partitions", n1), "40x60", of("starling_transfer_received_total", n1, `unit="bytes"`, `by="snapshot"`), "100x60"}},
			Silent: Case{At: 50 * time.Minute, Series: []string{
				of("starling_pending_partitions", n1), "40x60", of("starling_transfer_received_total", n1, `unit="bytes"`, `by="snapshot"`), "0+100x60"}},
		},
	}
}
