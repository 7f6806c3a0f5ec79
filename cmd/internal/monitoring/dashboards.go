package monitoring

// Dashboards are all of them. Each asks its questions in the order in which
// somebody who was just woken would.
func Dashboards() []Dashboard { return []Dashboard{overview(), node(), convergence(), storage()} }

// graph is a panel of lines, a third of the width.
func graph(title, unit, description string, queries ...Query) Panel {
	return Panel{Title: title, Unit: unit, Description: description, Kind: "timeseries", Wide: 8, Queries: queries}
}

func stat(title, unit, description string, steps []Step, q Query) Panel {
	return Panel{Title: title, Unit: unit, Description: description, Kind: "stat", Wide: 4, Steps: steps, Queries: []Query{q}}
}

// quarter is a panel of a row of four.
func (p Panel) quarter() Panel {
	p.Wide = 6
	return p
}

func (p Panel) stacked() Panel {
	p.Stack = true
	return p
}

func warnAt(v float64) []Step { return []Step{{v, "orange"}} }

func alarmAt(v float64) []Step { return []Step{{v, "red"}} }

func overview() Dashboard {
	return Dashboard{UID: "starling-overview", Name: "Overview",
		Description: "Is it serving, and if not, which node, and what to do?",
		Rows: []Row{
			{"Is all well?", []Panel{
				stat("Nodes that do not answer", "short", "Nodes that Prometheus could not scrape. One is borne by the others; do not stop another one.", warnAt(1),
					Query{Expr: `count by (cluster) (up{job="starling",@}) - sum by (cluster) (up{job="starling",@})`, Legend: "{{cluster}}"}),
				stat("Partitions without a quorum", "short", "Partitions of whose owners no majority is alive, in the worst view that a node has. Requests of their keys fail, or go on with stand-ins alone.", alarmAt(1),
					Query{Expr: `cluster:starling_ring_partitions:max{owners="no_quorum",@}`, Legend: "{{cluster}}"}),
				stat("Requests that fail", "percentunit", "Share of the requests about keys that were answered with 500 and above, over 5 minutes.", []Step{{0.001, "orange"}, {0.01, "red"}},
					Query{Expr: `cluster:starling_http_errors:ratio_rate5m{@}`, Legend: "{{cluster}}"}),
				stat("Slowest hundredth", "s", "99 of 100 requests about keys are answered within this, over 5 minutes, for the slowest operation.", []Step{{0.1, "orange"}, {0.5, "red"}},
					Query{Expr: `max by (cluster) (cluster:starling_http_request_duration_seconds:p99_5m{op=~"get|head|put|delete|add",@})`, Legend: "{{cluster}}"}),
				stat("Hints kept", "short", "Writes that nodes keep for others that were away. They fall to 0 within minutes once those are back.", warnAt(1),
					Query{Expr: `cluster:starling_hints:sum{@}`, Legend: "{{cluster}}"}),
				stat("Oldest proof", "s", "For the pair of replicas that was compared longest ago: how long ago it was proven equal. Seconds are normal; an hour is not.", []Step{{300, "orange"}, {3600, "red"}},
					Query{Expr: `cluster:starling_antientropy_oldest_proof_seconds:max{@}`, Legend: "{{cluster}}"}),
				{Title: "Alerts that fire", Kind: "table", Unit: "none", Wide: 24, Description: "What is wrong now, critical first. docs/runbooks has a page for each that says what to do.",
					Queries: []Query{{Expr: `count by (alertname, severity, cluster, instance, peer) (ALERTS{alertstate="firing",@})`, Rare: "nothing is wrong"}}},
			}},
			{"What do clients notice?", []Panel{
				graph("Requests", "reqps", "Requests about keys, by operation.",
					Query{Expr: `sum by (op) (rate(starling_http_requests_total{op!="admin",@}[$r]))`, Legend: "{{op}}"}).stacked(),
				graph("Errors by code", "reqps", "Requests that were answered with 500 and above. 503: no quorum, or refused; 504: too late; 507: a disk is full.",
					Query{Expr: `sum by (code) (rate(starling_http_requests_total{op!="admin",code=~"5..",@}[$r]))`, Legend: "{{code}}", Rare: "no request failed"}).stacked(),
				graph("Latency", "s", "Half of the requests, and 99 of 100, are answered within this.",
					Query{Expr: `max by (op) (cluster:starling_http_request_duration_seconds:p99_5m{@})`, Legend: "p99 {{op}}"},
					Query{Expr: `max by (op) (cluster:starling_http_request_duration_seconds:p50_5m{@})`, Legend: "p50 {{op}}"}),
				graph("Failed quorums by reason", "reqps", "Requests that did not get as many answers as they asked for, and why. unreachable: owners are down; timeout: owners are slow.",
					Query{Expr: `sum by (op, reason) (cluster:starling_quorum_failures:rate5m{@})`, Legend: "{{op}} {{reason}}", Rare: "no request failed"}),
				graph("Requests refused", "reqps", "Refused before they began because a node was as busy as it may be, by what ran out. Nothing happened to them.",
					Query{Expr: `sum by (instance, bound) (rate(starling_http_refused_total{@}[$r])) > 0`, Legend: "{{instance}} {{bound}}", Rare: "nothing is refused"}),
				graph("Siblings a read finds", "short", "99 of 100 reads find at most so many values of a key. Beyond 20 clients write without context.",
					Query{Expr: `histogram_quantile(0.99, sum by (cluster, le) (rate(starling_http_siblings_per_read_bucket{@}[$r])))`, Legend: "{{cluster}}"}),
			}},
			{"Which node?", []Panel{
				graph("Nodes that answer", "short", "1 while Prometheus can scrape the node. A gap is a node that is down.",
					Query{Expr: `up{job="starling",@}`, Legend: "{{instance}}"}),
				graph("Members held for dead", "short", "How many members each node believes to be down. One line alone: that node is cut off. All lines: a member is down.",
					Query{Expr: `sum by (instance) (starling_members{alive="false",state!="removed",@})`, Legend: "as {{instance}} sees it"}),
				graph("Latency by node", "s", "99 of 100 requests to the node are answered within this. One line above the others: that node, or its way to the others, is slow.",
					Query{Expr: `max by (instance) (instance:starling_http_request_duration_seconds:p99_5m{@})`, Legend: "{{instance}}"}),
				graph("Hints by target", "short", "Writes kept for each node. Rises while the node is away, falls when it is back, and is empty when all is well.",
					Query{Expr: `sum by (peer) (starling_hints_pending{@})`, Legend: "for {{peer}}", Rare: "nobody was away"}).stacked(),
				graph("Partitions by their owners", "short", "The whole ring in the worst view of a node: all_alive is as it should be; some_down has owners down and still a majority; no_quorum has none.",
					Query{Expr: `max by (owners) (cluster:starling_ring_partitions:max{@})`, Legend: "{{owners}}"}),
				graph("Partitions that move", "short", "Partitions that a node is being filled with. Falls to 0 when a join or leave is through. Flat above 0: something is stuck.",
					Query{Expr: `sum by (instance) (starling_pending_partitions{@})`, Legend: "to {{instance}}"}).stacked(),
			}},
		}}
}

func node() Dashboard {
	return Dashboard{UID: "starling-node", Name: "Node", ByNode: true,
		Description: "Why is this node slow, or alone?",
		Rows: []Row{
			{"Is it taking part?", []Panel{
				graph("Ready and alive", "short", "1 while the node answers, and while it has joined and is not stopping.",
					Query{Expr: `up{job="starling",@}`, Legend: "{{instance}} answers"}, Query{Expr: `starling_node_ready{@}`, Legend: "{{instance}} ready"}),
				graph("Partitions owned", "short", "Partitions of which the node is an owner with complete data. Steps are joins, leaves and weights.",
					Query{Expr: `starling_owned_partitions{@}`, Legend: "{{instance}}"}),
				graph("Peers up and down", "short", "How often a minute the node found another one alive or down. Without any restart, this is a network that comes and goes.",
					Query{Expr: `60 * sum by (instance, to) (rate(starling_liveness_changes_total{@}[$r]))`, Legend: "{{instance}} {{to}}"}),
			}},
			{"Is it busy?", []Panel{
				graph("Requests", "reqps", "Requests about keys that the node answers.",
					Query{Expr: `instance:starling_http_requests:rate5m{@}`, Legend: "{{instance}}"}).quarter(),
				graph("Requests that fail", "percentunit", "Share of them that the node answers with 500 and above. One line alone: take that node out of the load balancer.",
					Query{Expr: `instance:starling_http_errors:ratio_rate5m{@}`, Legend: "{{instance}}"}).quarter(),
				graph("Requests in flight", "percentunit", "Requests being served, and bytes of their values, as a share of what the node takes at once. At 100 % it refuses more.",
					Query{Expr: `starling_http_inflight_requests{@} / starling_http_inflight_requests_limit{@}`, Legend: "{{instance}} requests"},
					Query{Expr: `starling_http_inflight_bytes{@} / starling_http_inflight_limit_bytes{@}`, Legend: "{{instance}} bytes"}).quarter(),
				graph("Connections", "short", "Open connections of clients, and to and from peers.",
					Query{Expr: `starling_http_connections{@}`, Legend: "{{instance}} clients"}, Query{Expr: `sum by (instance) (starling_rpc_connections{@})`, Legend: "{{instance}} peers"}).quarter(),
			}},
			{"Do its peers answer it?", []Panel{
				graph("Replica latency by peer", "s", "99 of 100 reads and writes that nodes send the peer are answered within this. The peer that is slow is slow for all.",
					Query{Expr: `max by (peer, op) (cluster:starling_replica_request_duration_seconds:p99_5m{cluster=~"$cluster",op=~"read|replicate|forward"})`, Legend: "{{peer}} {{op}}"}),
				graph("Replica requests that fail", "percentunit", "Share of the node's requests to the peer that failed: unreachable, too late, refused.",
					Query{Expr: `instance:starling_replica_errors:ratio_rate5m{@}`, Legend: "{{instance}} to {{peer}}"}),
				graph("Breakers", "short", "0: the peer is asked. 2: it is given up, and tried now and then. 1: it is being tried.",
					Query{Expr: `starling_peer_breaker{@}`, Legend: "{{instance}} to {{peer}}"}),
				graph("Traffic between nodes", "Bps", "What the node sends to and receives from its peers.",
					Query{Expr: `sum by (instance, direction) (rate(starling_rpc_bytes_total{@}[$r]))`, Legend: "{{instance}} {{direction}}"}),
				graph("Traffic by method", "Bps", "What the bytes between nodes are for. push, fetch, pull, keys: repairs and transfers; the others: requests of clients.",
					Query{Expr: `sum by (method) (rate(starling_rpc_message_bytes_total{direction="out",@}[$r])) > 0`, Legend: "{{method}}"}).stacked(),
				graph("Calls by method", "reqps", "Calls that the node makes to others.",
					Query{Expr: `sum by (method) (rate(starling_rpc_requests_total{side="client",@}[$r])) > 0`, Legend: "{{method}}"}).stacked(),
			}},
			{"Is its machine well?", []Panel{
				graph("CPU", "short", "Processors that the node keeps busy.",
					Query{Expr: `instance:starling_process_cpu:rate5m{@}`, Legend: "{{instance}}"}),
				graph("Time waited for a processor", "s", "99 of 100 goroutines that could run ran within this. More than some milliseconds: the machine has too few processors for its work.",
					Query{Expr: `histogram_quantile(0.99, sum by (instance, le) (rate(go_sched_latencies_seconds_bucket{job="starling",@}[$r])))`, Legend: "{{instance}}"}),
				graph("Memory", "bytes", "What the system gave the process, and the heap in use.",
					Query{Expr: `process_resident_memory_bytes{job="starling",@}`, Legend: "{{instance}}"}, Query{Expr: `go_memstats_heap_inuse_bytes{job="starling",@}`, Legend: "{{instance}} heap"}),
				graph("Garbage collection", "s", "Time a second that the process stood still for garbage collections.",
					Query{Expr: `rate(go_gc_duration_seconds_sum{job="starling",@}[$r])`, Legend: "{{instance}}"}),
				graph("File descriptors", "percentunit", "Open file descriptors as a share of what the process may have.",
					Query{Expr: `process_open_fds{job="starling",@} / process_max_fds{job="starling",@}`, Legend: "{{instance}}"}),
				graph("Clock", "s", "How far the node's clock is from Prometheus' own. Buckets with conflicts=lww and TTLs go by it.",
					Query{Expr: `abs(starling_clock_seconds{@} - timestamp(starling_clock_seconds{@}))`, Legend: "{{instance}}"}),
			}},
		}}
}
