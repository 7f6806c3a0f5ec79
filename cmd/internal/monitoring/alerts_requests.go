package monitoring

import "time"

const (
	requestsTotal = "starling_http_requests_total"
	durations     = "starling_http_request_duration_seconds_bucket"
)

// requestAlerts are about what clients feel.
func requestAlerts() []Alert {
	return []Alert{
		{
			Name: "RequestErrors", Severity: Critical, For: 5 * time.Minute,
			Expr:    `cluster:starling_http_errors:ratio_rate5m > 0.01`,
			Summary: "More than 1 % of the requests to {{ $labels.cluster }} fail",
			Means: "Clients get answers of 500 and above: quorums that are not reached (503, 504), nodes that are full (507) or overloaded (503). " +
				"A write that failed so may have been applied or not; the answer says which.",
			Do: []string{
				"Look at *Errors by code* and *Failed quorums by reason* of the overview. 503 with `unreachable` means that too few owners answer: see [PartitionsWithoutQuorum](PartitionsWithoutQuorum.md) and [NodeDown](NodeDown.md).",
				"`timeout` or 504: a disk or a node is slow. See [DiskSlow](DiskSlow.md) and *Replica latency by peer* of the node dashboard.",
				"`hints_full`: see [HintsRefused](HintsRefused.md). 507: see [DiskFull](DiskFull.md). Refused by a bound: see [RequestsRefused](RequestsRefused.md).",
				"Errors at one node alone: take it out of the load balancer; `bin/starling status --endpoint` at it says how it sees the others.",
			},
			Fires: Case{At: 20 * time.Minute, Labels: inCluster(), Series: []string{
				of(requestsTotal, n1, `op="get"`, `code="200"`), "0+600x30", of(requestsTotal, n1, `op="get"`, `code="503"`), "0+60x30"}},
			Silent: Case{At: 20 * time.Minute, Series: []string{
				of(requestsTotal, n1, `op="get"`, `code="200"`), "0+6000x30", of(requestsTotal, n1, `op="get"`, `code="503"`), "0+6x30"}},
		},
		{
			Name: "RequestsSlow", Severity: Warning, For: 10 * time.Minute,
			Expr:    `cluster:starling_http_request_duration_seconds:p99_5m{op=~"get|head|put|delete|add"} > 0.5`,
			Summary: "One in a hundred requests ({{ $labels.op }}) to {{ $labels.cluster }} takes more than half a second",
			Means:   "Requests are answered, but the slowest hundredth takes longer than 500 ms. One slow node shows here as soon as a quorum needs it.",
			Do: []string{
				"Is one node behind it? *Latency by node* of the overview, then *Replica latency by peer* of the node dashboard: the slow peer is slow for all.",
				"Slow disk: *Wait for the disk* of the storage dashboard; see [DiskSlow](DiskSlow.md) and [WriteStalls](WriteStalls.md).",
				"No CPU left: *CPU* and *Time waited for a processor* of the node dashboard. Is data moving? `bin/starling cluster pace hold` holds it for an hour, `bin/starling cluster pace 8MiB` slows it down. For good: more nodes, or lower `transfer_bytes_per_second` and `antientropy_bytes_per_second`.",
				"Large values or many siblings: *Siblings a read finds*; see [SiblingsMany](SiblingsMany.md).",
			},
			Fires: Case{At: 30 * time.Minute, Labels: inCluster("op", "get"), Series: []string{
				of(durations, n1, `op="get"`, `le="0.5"`), "0+90x40", of(durations, n1, `op="get"`, `le="1"`), "0+100x40", of(durations, n1, `op="get"`, `le="+Inf"`), "0+100x40"}},
			Silent: Case{At: 30 * time.Minute, Series: []string{
				of(durations, n1, `op="get"`, `le="0.01"`), "0+100x40", of(durations, n1, `op="get"`, `le="0.5"`), "0+100x40", of(durations, n1, `op="get"`, `le="+Inf"`), "0+100x40"}},
		},
		{
			Name: "RequestsRefused", Severity: Warning, For: 5 * time.Minute,
			Expr:    `sum by (cluster, instance, bound) (rate(starling_http_refused_total[5m])) > 1`,
			Summary: "{{ $labels.instance }} refuses requests: the bound of {{ $labels.bound }} is reached",
			Means: "The node is as busy as it may be and answers 503 with Retry-After before it reads a request. Nothing happened to those requests. " +
				"`bound` says what ran out: requests served at a time, bytes of their values, or connections.",
			Do: []string{
				"Compare *Requests in flight* with its bound on the node dashboard. At one node alone: the load balancer does not spread; clients should be given all endpoints.",
				"At all nodes: is it more load (*Requests*) or slower work (*Latency*)? More load: add nodes (`bin/starling cluster plan --join n6`). Slower: see [RequestsSlow](RequestsSlow.md).",
				"Where memory allows it, raise `max_inflight`, `max_inflight_bytes` or `max_connections`; they are there to keep the node alive, so do that last.",
			},
			Fires: Case{At: 15 * time.Minute, Labels: atNode("bound", "requests"), Series: []string{
				of("starling_http_refused_total", n1, `bound="requests"`), "0+300x20"}},
			Silent: Case{At: 15 * time.Minute, Series: []string{
				of("starling_http_refused_total", n1, `bound="requests"`), "0+3x20"}},
		},
		{
			Name: "QuorumFailures", Severity: Warning, For: 5 * time.Minute,
			Expr:    `sum by (cluster, reason) (cluster:starling_quorum_failures:rate5m) > 0.1`,
			Summary: "Requests to {{ $labels.cluster }} do not reach their quorum: {{ $labels.reason }}",
			Means: "A coordinator did not get as many answers as the request asked for. Requests that insist on owners (`sloppy=false`, `pw`, `pr`, `all`) fail " +
				"as soon as one owner too many is down; others go on with stand-ins.",
			Do: []string{
				"`unreachable`: owners are down. `bin/starling status`, and [NodeDown](NodeDown.md).",
				"`timeout`: owners are slow. *Replica latency by peer* names them; see [DiskSlow](DiskSlow.md).",
				"`stale_ring`: nodes go by different maps for longer than a moment; see [RingDisagreement](RingDisagreement.md).",
				"`not_visible`: sessions ask for writes that no reachable owner has; they come with the owner that has them. `bin/starling explain BUCKET KEY` shows who holds what.",
				"Only one application is hit: it asks for a stricter level than the others.",
			},
			Fires: Case{At: 15 * time.Minute, Labels: inCluster("reason", "unreachable"), Series: []string{
				of("starling_quorum_failures_total", n1, `op="put"`, `reason="unreachable"`), "0+60x20"}},
			Silent: Case{At: 15 * time.Minute, Series: []string{
				of("starling_quorum_failures_total", n1, `op="put"`, `reason="unreachable"`), "0+1x20", of("starling_quorum_failures_total", n1, `op="put"`, `reason="canceled"`), "0+60x20"}},
		},
		{
			Name: "PartitionsWithoutQuorum", Severity: Critical, For: time.Minute,
			Expr:    `max by (cluster) (starling_ring_partitions{owners="no_quorum"}) > 0`,
			Summary: "Partitions of {{ $labels.cluster }} have no majority of their owners",
			Means: "At least one node sees partitions of whose owners less than a majority is alive. Reads of what only the dead owners have fail, and so do all strict requests. " +
				"Sloppy writes go on and become hints. Nothing is lost as long as the owners come back.",
			Do: []string{
				"Which nodes are down? *Nodes that answer* of the overview, or `bin/starling status`. Bring them back: that is the fastest way out, and the safe one.",
				"All nodes up, and only some see this: the network is cut between them. Mend the network; nodes find each other by themselves.",
				"A node is gone for good: give its place to a new one, one after the other, as [operations](../operations.md#replace-a-node-that-is-dead-for-good) says. Do not use `--force` while an owner can still come back: what it alone holds would be lost.",
			},
			Fires: Case{At: 5 * time.Minute, Labels: inCluster(), Series: []string{
				of("starling_ring_partitions", n1, `owners="no_quorum"`), "0x1 12x10", of("starling_ring_partitions", n2, `owners="no_quorum"`), "0x11"}},
			Silent: Case{At: 5 * time.Minute, Series: []string{
				of("starling_ring_partitions", n1, `owners="no_quorum"`), "0x11", of("starling_ring_partitions", n1, `owners="some_down"`), "500x11"}},
		},
		{
			Name: "SiblingsMany", Severity: Warning, For: 15 * time.Minute,
			Expr:    `histogram_quantile(0.99, sum by (cluster, le) (rate(starling_http_siblings_per_read_bucket[15m]))) > 20`,
			Summary: "Reads of {{ $labels.cluster }} find more than 20 siblings",
			Means:   "Clients write without the context that a read gave them, so each write stays beside the others. Reads get slow and large; at `max_siblings` puts are refused with 409.",
			Do: []string{
				"Find the application: it puts without `X-Starling-Context`. The page on [consistency](../consistency.md) says how to resolve siblings.",
				"Where the newest write may win, set the bucket to `conflicts=lww`.",
				"`bin/starling explain BUCKET KEY` shows the siblings of a key and when they were written.",
			},
			Fires: Case{At: 40 * time.Minute, Labels: inCluster(), Series: []string{
				of("starling_http_siblings_per_read_bucket", n1, `le="20"`), "0+90x50", of("starling_http_siblings_per_read_bucket", n1, `le="50"`), "0+100x50", of("starling_http_siblings_per_read_bucket", n1, `le="+Inf"`), "0+100x50"}},
			Silent: Case{At: 40 * time.Minute, Series: []string{
				of("starling_http_siblings_per_read_bucket", n1, `le="1"`), "0+100x50", of("starling_http_siblings_per_read_bucket", n1, `le="20"`), "0+100x50", of("starling_http_siblings_per_read_bucket", n1, `le="+Inf"`), "0+100x50"}},
		},
	}
}
