package monitoring

import "time"

// Record is a recording rule.
type Record struct {
	Name, Expr string
	// Rare says why the rule gives nothing while all is well; "": it always
	// gives something where there is load.
	Rare string
}

// Records are the recording rules, named level:metric:operation. Panels and
// alerts use them where a query would be long, or be asked by both.
func Records() []Record {
	return []Record{
		{Name: "cluster:starling_http_errors:ratio_rate5m",
			Expr: `(
  sum by (cluster) (rate(starling_http_requests_total{op!="admin",code=~"5.."}[5m]))
  or 0 * sum by (cluster) (rate(starling_http_requests_total{op!="admin"}[5m]))
) / sum by (cluster) (rate(starling_http_requests_total{op!="admin"}[5m]))`},
		{Name: "cluster:starling_http_request_duration_seconds:p50_5m",
			Expr: `histogram_quantile(0.5, sum by (cluster, op, le) (rate(starling_http_request_duration_seconds_bucket{op!="admin"}[5m])))`},
		{Name: "cluster:starling_http_request_duration_seconds:p99_5m",
			Expr: `histogram_quantile(0.99, sum by (cluster, op, le) (rate(starling_http_request_duration_seconds_bucket{op!="admin"}[5m])))`},
		{Name: "instance:starling_http_requests:rate5m",
			Expr: `sum by (cluster, instance) (rate(starling_http_requests_total{op!="admin"}[5m]))`},
		{Name: "instance:starling_http_errors:ratio_rate5m",
			Expr: `(
  sum by (cluster, instance) (rate(starling_http_requests_total{op!="admin",code=~"5.."}[5m]))
  or 0 * sum by (cluster, instance) (rate(starling_http_requests_total{op!="admin"}[5m]))
) / sum by (cluster, instance) (rate(starling_http_requests_total{op!="admin"}[5m]))`},
		{Name: "instance:starling_http_request_duration_seconds:p99_5m",
			Expr: `histogram_quantile(0.99, sum by (cluster, instance, op, le) (rate(starling_http_request_duration_seconds_bucket{op!="admin"}[5m])))`},
		{Name: "cluster:starling_quorum_failures:rate5m",
			Expr: `sum by (cluster, op, reason) (rate(starling_quorum_failures_total{reason!="canceled"}[5m]))`,
			Rare: "no request failed"},
		{Name: "instance:starling_replica_errors:ratio_rate5m",
			Expr: `sum by (cluster, instance, peer) (rate(starling_replica_requests_total{result!~"ok|canceled|stale_ring"}[5m]))
/ sum by (cluster, instance, peer) (rate(starling_replica_requests_total[5m]))`},
		{Name: "cluster:starling_replica_request_duration_seconds:p99_5m",
			Expr: `histogram_quantile(0.99, sum by (cluster, peer, op, le) (rate(starling_replica_request_duration_seconds_bucket[5m])))`},
		{Name: "cluster:starling_ring_partitions:max", Expr: `max by (cluster, owners) (starling_ring_partitions)`},
		{Name: "cluster:starling_hints:sum", Expr: `sum by (cluster) (starling_store_hints)`},
		{Name: "cluster:starling_antientropy_oldest_proof_seconds:max",
			Expr: `max by (cluster) (starling_antientropy_oldest_proof_seconds)`},
		{Name: "cluster:starling_antientropy_open_pairs:ratio",
			Expr: `sum by (cluster) (starling_antientropy_open_pairs) / sum by (cluster) (starling_antientropy_pairs)`},
		{Name: "instance:starling_antientropy_failures:ratio_rate5m",
			Expr: `sum by (cluster, instance) (rate(starling_antientropy_exchanges_total{result="failed"}[5m]))
/ sum by (cluster, instance) (rate(starling_antientropy_exchanges_total[5m]))`},
		{Name: "instance:starling_store_sync_wait_seconds:p99_5m",
			Expr: `histogram_quantile(0.99, sum by (cluster, instance, le) (rate(starling_store_sync_wait_seconds_bucket[5m])))`},
		{Name: "instance:starling_store_block_cache_hits:ratio_rate5m",
			Expr: `sum by (cluster, instance) (rate(starling_store_block_cache_hits_total[5m]))
/ (sum by (cluster, instance) (rate(starling_store_block_cache_hits_total[5m])) + sum by (cluster, instance) (rate(starling_store_block_cache_misses_total[5m])))`,
			Rare: "no block was read, as all is in memtables"},
		{Name: "instance:starling_store_disk_free:ratio",
			Expr: `(starling_store_disk_free_bytes - starling_store_disk_floor_bytes) / (starling_store_disk_total_bytes > 0)`},
		{Name: "instance:starling_process_cpu:rate5m",
			Expr: `sum by (cluster, instance) (rate(process_cpu_seconds_total{job="starling"}[5m]))`},
	}
}

// Timing is how often Prometheus looks, and how long an alert waits before it
// fires.
type Timing struct {
	Scrape, Evaluate time.Duration
	// For, unless zero, takes the place of every alert's own wait.
	For time.Duration
}

// DefaultTiming is that of deploy/monitoring.
func DefaultTiming() Timing { return Timing{Scrape: 15 * time.Second, Evaluate: 15 * time.Second} }
