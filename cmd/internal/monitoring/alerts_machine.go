package monitoring

import "time"

// storageAlerts are about the disk and the store.
func storageAlerts() []Alert {
	return []Alert{
		{
			Name: "DiskFull", Severity: Critical, For: time.Minute,
			Expr:    `starling_store_disk_full == 1`,
			Summary: "The disk of {{ $labels.instance }} is full: it refuses writes",
			Means:   "Free space is below `free_floor_bytes`. The node answers writes with 507 and takes no hints, repairs or transfers; it reads as ever. It recovers by itself when there is space.",
			Do: []string{
				"What takes the space? *Disk* of the storage dashboard: if it is not the store, clean up what else is on that disk.",
				"It is the store: make the disk larger, or move data away. `bin/starling cluster plan --weight` shows what a lower weight moves; a new node takes more (`--join`).",
				"Old copies and compaction give space back by themselves, some minutes after data has moved.",
				"In an emergency a smaller `free_floor_bytes` and a restart win time. Never let the disk fill to the last byte.",
			},
			Fires:  Case{At: 5 * time.Minute, Labels: atTarget(), Series: []string{of("starling_store_disk_full", n1), "0 1x10"}},
			Silent: Case{At: 5 * time.Minute, Series: []string{of("starling_store_disk_full", n1), "0x10"}},
		},
		{
			Name: "DiskSpaceLow", Severity: Warning, For: 10 * time.Minute,
			Expr:    `instance:starling_store_disk_free:ratio < 0.15`,
			Summary: "{{ $labels.instance }} has less than 15 % of its disk left",
			Means:   "Counted above the floor at which writes are refused. Compaction needs room for a while too.",
			Do: []string{
				"How fast does it go? *Free disk space* of the storage dashboard over a week.",
				"Add nodes, or give this one a lower weight: `bin/starling cluster plan --join n6` says how many bytes that frees, and how long it takes.",
				"Hints for a node that is away grow too: *Hints by target*. Deleted keys that cannot be purged: [PurgeBlocked](PurgeBlocked.md).",
			},
			Fires: Case{At: 15 * time.Minute, Labels: atTarget(), Series: []string{
				of("starling_store_disk_free_bytes", n1), "150x20", of("starling_store_disk_floor_bytes", n1), "50x20", of("starling_store_disk_total_bytes", n1), "1000x20"}},
			Silent: Case{At: 15 * time.Minute, Series: []string{
				of("starling_store_disk_free_bytes", n1), "300x20", of("starling_store_disk_floor_bytes", n1), "50x20", of("starling_store_disk_total_bytes", n1), "1000x20"}},
		},
		{
			Name: "DiskSlow", Severity: Warning, For: 5 * time.Minute,
			Expr: `instance:starling_store_sync_wait_seconds:p99_5m > 0.1
or sum by (cluster, instance) (increase(starling_store_slow_disk_total[10m])) > 0`,
			Summary: "The disk of {{ $labels.instance }} is slow",
			Means:   "Writes wait more than 100 ms to be on disk, or a disk operation hung for seconds. A put needs the slowest of its W owners, so one such disk slows the writes of many keys.",
			Do: []string{
				"*Wait for the disk* of the storage dashboard: one node or all? One: its disk, its controller, or a neighbour on it (`iostat -x 1`).",
				"All: more writes than the disks take. *WAL bytes* and *Compaction* show how much is written; add nodes.",
				"A disk that gets worse by the day is dying: [replace the node](../operations.md#replace-a-node-that-is-dead-for-good) before it does. `bin/starling safe-to-stop` first.",
			},
			Fires: Case{At: 15 * time.Minute, Labels: atNode(), Series: []string{
				of("starling_store_sync_wait_seconds_bucket", n1, `le="0.1"`), "0+50x20", of("starling_store_sync_wait_seconds_bucket", n1, `le="0.2"`), "0+100x20", of("starling_store_sync_wait_seconds_bucket", n1, `le="+Inf"`), "0+100x20"}},
			Silent: Case{At: 15 * time.Minute, Series: []string{
				of("starling_store_sync_wait_seconds_bucket", n1, `le="0.001"`), "0+100x20", of("starling_store_sync_wait_seconds_bucket", n1, `le="0.1"`), "0+100x20", of("starling_store_sync_wait_seconds_bucket", n1, `le="+Inf"`), "0+100x20",
				of("starling_store_slow_disk_total", n1), "3x20"}},
		},
		{
			Name: "WriteStalls", Severity: Warning, For: 5 * time.Minute,
			Expr:    `rate(starling_store_write_stall_seconds_total[5m]) > 0.05`,
			Summary: "The store of {{ $labels.instance }} holds writes up",
			Means:   "Memtables cannot be written out, or level 0 cannot be compacted, as fast as writes come. Every write to this node waits meanwhile.",
			Do: []string{
				"*Compaction debt* and *Level 0* of the storage dashboard: do they grow? Then the disk or the CPU does not keep up.",
				"Is a transfer or an import under way? Hold transfers (`bin/starling cluster pace hold`) or slow them down (`bin/starling cluster pace 8MiB`), for an hour or `--for`; have an import write with fewer writers.",
				"It lasts: faster disks, more nodes, or more `cache_bytes`, of which memtables get a part.",
			},
			Fires:  Case{At: 15 * time.Minute, Labels: atTarget(), Series: []string{of("starling_store_write_stall_seconds_total", n1), "0+10x20"}},
			Silent: Case{At: 15 * time.Minute, Series: []string{of("starling_store_write_stall_seconds_total", n1), "0+1x20"}},
		},
		{
			Name: "CorruptionDetected", Severity: Critical,
			Expr: `sum by (cluster, instance) (increase(starling_store_corruption_events_total[1h])) > 0
or sum by (cluster, instance) (increase(starling_hints_damaged_total[1h])) > 0`,
			Summary: "{{ $labels.instance }} met damaged data on its disk",
			Means: "A block or file failed its checksum. Reads of it are errors and never \"not found\"; the partition loses its vote and is filled again from the other owners. " +
				"As long as those are up nothing is lost; hints that are damaged were copies for a node that was down.",
			Do: []string{
				"Stop no other node until this is over: *Partitions by their owners* shows when all have their owners again, `bin/starling convergence` when all is proven.",
				"Look at the disk: the kernel's log, `smartctl -a`. A disk that did this once does it again.",
				"[Replace the node](../operations.md#replace-a-node-that-is-dead-for-good) with a new disk: stop it when `bin/starling safe-to-stop` allows, and start a new one in its place.",
			},
			Fires:  Case{At: 10 * time.Minute, Labels: atNode(), Series: []string{of("starling_store_corruption_events_total", n1), "0x4 1x20"}},
			Silent: Case{At: 90 * time.Minute, Series: []string{of("starling_store_corruption_events_total", n1), "0x4 1x120"}},
		},
	}
}

// processAlerts are about the process and its machine.
func processAlerts() []Alert {
	return []Alert{
		{
			Name: "ProcessStandstill", Severity: Warning,
			Expr:    `increase(starling_standstills_total[15m]) > 2`,
			Summary: "The process of {{ $labels.instance }} stands still again and again",
			Means:   "For half a second or more nothing of the process ran: the machine was paused, swaps, or has no CPU to give. Requests that waited meanwhile are refused or late, and others may hold the node for dead.",
			Do: []string{
				"Does the machine swap, or is the virtual machine moved or throttled (`steal` in `top`)? Give it CPU and memory of its own.",
				"*CPU*, *Memory* and *Garbage collection* of the node dashboard: is it the process itself? A smaller `cache_bytes` helps where memory is short.",
			},
			Fires:  Case{At: 20 * time.Minute, Labels: atTarget(), Series: []string{of("starling_standstills_total", n1), "0+1x30"}},
			Silent: Case{At: 20 * time.Minute, Series: []string{of("starling_standstills_total", n1), "0x10 1x20"}},
		},
		{
			Name: "HandlerPanic", Severity: Warning,
			Expr:    `increase(starling_http_panics_total[15m]) > 0`,
			Summary: "{{ $labels.instance }} failed inside while it served a request",
			Means:   "A request met a bug: it got a 500 and the node went on. A write that met it may have been applied.",
			Do: []string{
				"The node's log has the record \"panic while serving\" with the stack. Report it with the release (`bin/starling version`).",
				"Does it come back with the same kind of request? Keep that request away from the cluster until there is a release without the bug.",
			},
			Fires:  Case{At: 10 * time.Minute, Labels: atTarget(), Series: []string{of("starling_http_panics_total", n1), "0x4 1x10"}},
			Silent: Case{At: 10 * time.Minute, Series: []string{of("starling_http_panics_total", n1), "1x20"}},
		},
		{
			Name: "FileDescriptorsLow", Severity: Warning, For: 10 * time.Minute,
			Expr:    `process_open_fds{job="starling"} / process_max_fds{job="starling"} > 0.8`,
			Summary: "{{ $labels.instance }} uses more than 80 % of its file descriptors",
			Means:   "Every connection and every open table takes one. Without any left the node takes no connections and cannot open its tables.",
			Do: []string{
				"Raise the limit of the service (`LimitNOFILE` of systemd, `ulimit -n`): connections of clients, some of peers, and up to about 2,000 tables must fit.",
				"*Connections* of the node dashboard: do clients open connections without end? Lower `max_connections`, and mend the clients.",
			},
			Fires: Case{At: 15 * time.Minute, Labels: atTarget(), Series: []string{
				of("process_open_fds", n1), "900x20", of("process_max_fds", n1), "1024x20"}},
			Silent: Case{At: 15 * time.Minute, Series: []string{
				of("process_open_fds", n1), "100x20", of("process_max_fds", n1), "1024x20"}},
		},
	}
}
