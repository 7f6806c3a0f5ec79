package config

import (
	"log/slog"
	"strings"
	"time"
)

// field is one row of the table of settings.
type field struct {
	name    string // key in the file
	def     string // default, in the text form that set takes
	derived string // what stands for the default where it is computed
	about   string
	label   string // kind of the value in --help
	allowed string // what set takes, for errors and documentation
	repeats bool   // the flag may be given more than once
	set     func(c *Config, text string) bool
	get     func(c *Config) string
}

func (f field) flag() string { return strings.ReplaceAll(f.name, "_", "-") }
func (f field) env() string  { return envPrefix + strings.ToUpper(f.name) }

// shownDefault is the default for people.
func (f field) shownDefault() string {
	if f.derived != "" {
		return f.derived
	}
	return f.def
}

// bind makes a row from a kind of value and the place where it is kept.
func bind[T any](name, def string, k kind[T], at func(*Config) *T, about string) field {
	return field{
		name: name, def: def, about: about, label: k.label, allowed: k.allowed,
		set: func(c *Config, text string) bool {
			v, ok := k.parse(text)
			if ok {
				*at(c) = v
			}
			return ok
		},
		get: func(c *Config) string { return k.format(*at(c)) },
	}
}

// derive marks a row whose default is computed.
func derive(f field, from string) field {
	f.derived = from
	return f
}

// many marks a row whose flag may be repeated.
func many(f field) field {
	f.repeats = true
	return f
}

const (
	kib int64 = 1 << 10
	mib       = kib << 10
	gib       = mib << 10
	tib       = gib << 10

	day  = 24 * time.Hour
	year = 365 * day
)

// fields is the table of settings, in the order of the documentation.
var fields = []field{
	derive(bind("name", "", label(false), func(c *Config) *string { return &c.Name },
		"Name of this node in answers and tables. A label: it may change, but should be unique."), "the host name"),
	bind("data_dir", "./starling-data", path(), func(c *Config) *string { return &c.DataDir },
		"Directory of this node's data. It holds the node's identity: never copy it, never share it."),

	bind("http", "127.0.0.1:4700", listenAddress(), func(c *Config) *string { return &c.HTTP },
		"Address that serves clients. There is no authentication: keep it on loopback or a trusted network."),
	bind("rpc", "127.0.0.1:4701", listenAddress(), func(c *Config) *string { return &c.RPC },
		"Address that serves other nodes."),
	bind("gossip", "127.0.0.1:4702", listenAddress(), func(c *Config) *string { return &c.Gossip },
		"Address of failure detection, TCP and UDP."),
	derive(bind("advertise_http", "", peerAddress(), func(c *Config) *string { return &c.AdvertiseHTTP },
		"Client address that this node tells others."), "from http"),
	derive(bind("advertise_rpc", "", peerAddress(), func(c *Config) *string { return &c.AdvertiseRPC },
		"Node-to-node address that this node tells others."), "from rpc"),
	derive(bind("advertise_gossip", "", peerAddress(), func(c *Config) *string { return &c.AdvertiseGossip },
		"Failure detection address that this node tells others."), "from gossip"),
	many(bind("join", "", peerAddresses(), func(c *Config) *[]string { return &c.Join },
		"RPC addresses of members to join through. Empty creates a cluster; a node that is a member already needs none.")),
	bind("replace", "", label(true), func(c *Config) *string { return &c.Replace },
		"Name or ID of a dead member whose place this node takes when it joins. Counts at the first start alone."),
	bind("zone", "", label(true), func(c *Config) *string { return &c.Zone },
		"Failure domain of this node. Replicas of a key are put into distinct zones where there are enough."),
	bind("weight", "100", number[uint32](1, 10000), func(c *Config) *uint32 { return &c.Weight },
		"Share of the data relative to other nodes; 100 is normal."),

	bind("replicas", "3", number[int](1, 7), func(c *Config) *int { return &c.Replicas },
		"Copies of every key (N). Fixed when the cluster is created."),
	bind("partitions", "1024", powerOfTwo(65536), func(c *Config) *int { return &c.Partitions },
		"Parts that the key space is cut into (Q), at least 12 a node. Fixed when the cluster is created."),

	bind("durability", "sync", choice("sync", "interval", "none"), func(c *Config) *string { return &c.Durability },
		"When a replica acknowledges a write. sync: once it is on disk. interval: at once, and the log is synced periodically; a crash of the process or the machine loses up to one interval of acknowledged writes. none: at once; a crash of the process loses the last tens of KiB, one of the machine the last minutes."),
	bind("durability_interval", "100ms", duration(time.Millisecond, time.Minute), func(c *Config) *time.Duration { return &c.DurabilityInterval },
		"Longest time between two syncs when durability is interval."),
	bind("max_value_bytes", "1MiB", size(1, 4*mib), func(c *Config) *int64 { return &c.MaxValueBytes },
		"Largest value of one key. Larger ones are refused with 413."),
	bind("max_siblings", "100", number[int](1, 1000), func(c *Config) *int { return &c.MaxSiblings },
		"Most siblings of one key. A put that would exceed it is refused with 409."),
	bind("cache_bytes", "256MiB", size(mib, tib), func(c *Config) *int64 { return &c.CacheBytes },
		"Memory for the store's blocks and memtables. At least half of it is for blocks."),
	bind("free_floor_bytes", "256MiB", size(mib, tib), func(c *Config) *int64 { return &c.FreeFloorBytes },
		"Free disk space below which writes are refused with 507."),

	bind("max_inflight", "1024", number[int](1, 65536), func(c *Config) *int { return &c.MaxInflight },
		"Client requests served at a time. More are refused with 503."),
	bind("max_inflight_bytes", "256MiB", size(mib, tib), func(c *Config) *int64 { return &c.MaxInflightBytes },
		"Bytes of values that client requests being served may hold together. More are refused with 503."),
	bind("max_connections", "8192", number[int](1, 1<<20), func(c *Config) *int { return &c.MaxConnections },
		"Client connections open at a time. More are refused with 503."),
	bind("default_timeout", "5s", duration(time.Millisecond, time.Hour), func(c *Config) *time.Duration { return &c.DefaultTimeout },
		"Deadline of a request that names none."),
	bind("max_timeout", "1m", duration(time.Millisecond, time.Hour), func(c *Config) *time.Duration { return &c.MaxTimeout },
		"Longest deadline that a request may name."),
	bind("shutdown_grace", "10s", duration(0, time.Hour), func(c *Config) *time.Duration { return &c.ShutdownGrace },
		"How long a stop waits for running requests."),
	bind("drain_delay", "0s", duration(0, time.Hour), func(c *Config) *time.Duration { return &c.DrainDelay },
		"How long a stopping node goes on taking client requests while /readyz says that it is not ready, so that load balancers look away first."),

	bind("read_repair_enabled", "true", boolean(), func(c *Config) *bool { return &c.ReadRepairEnabled },
		"Whether a read that meets a stale replica updates it."),
	bind("hints_enabled", "true", boolean(), func(c *Config) *bool { return &c.HintsEnabled },
		"Whether this node keeps writes for owners that are down, and has others keep them. Without, quorums are strict."),
	bind("hints_max_bytes", "1GiB", size(0, 64*tib), func(c *Config) *int64 { return &c.HintsMaxBytes },
		"Most bytes of hints that this node keeps for others. Beyond it writes that need another are refused with 503."),
	derive(bind("hints_max_target_bytes", "", size(0, 64*tib), func(c *Config) *int64 { return &c.HintsMaxTargetBytes },
		"Most bytes of hints that this node keeps for one other node."), "half of hints_max_bytes"),
	bind("hints_bytes_per_second", "8MiB", size(64*kib, 64*gib), func(c *Config) *int64 { return &c.HintsBytesPerSecond },
		"Pace at which this node delivers hints when it has nothing else to do. Requests of clients slow it down."),
	bind("antientropy_enabled", "true", boolean(), func(c *Config) *bool { return &c.AntientropyEnabled },
		"Whether this node compares its partitions with their other owners in the background, and makes them equal. Without, deleted keys are not purged either."),
	bind("antientropy_interval", "10s", duration(10*time.Millisecond, day), func(c *Config) *time.Duration { return &c.AntientropyInterval },
		"Time within which every partition is compared with each of its other owners, and between two tries to purge deleted keys."),
	bind("antientropy_bytes_per_second", "32MiB", size(64*kib, 64*gib), func(c *Config) *int64 { return &c.AntientropyBytesPerSecond },
		"Pace at which this node ships objects to and from other owners when it has nothing else to do. Requests of clients slow it down."),
	bind("transfer_bytes_per_second", "64MiB", size(64*kib, 64*gib), func(c *Config) *int64 { return &c.TransferBytesPerSecond },
		"Pace at which this node copies the partitions that it becomes an owner of, when it has nothing else to do. Owners that have clients send at an eighth of it, down to a tenth the busier they are."),
	bind("tombstones_min_age", "1h", duration(0, 10*year), func(c *Config) *time.Duration { return &c.TombstonesMinAge },
		"Age at which purging a deleted key is first tried. It is a delay, not what makes a purge safe."),

	bind("profiles_enabled", "true", boolean(), func(c *Config) *bool { return &c.ProfilesEnabled },
		"Whether CPU and memory profiles of the process are served under /debug/pprof/, for `starling diag --profiles`. They have no keys or values in them."),
	bind("log_level", "info", logLevel(), func(c *Config) *slog.Level { return &c.LogLevel },
		"Least severe records to log."),
	bind("log_format", "text", choice("text", "json"), func(c *Config) *string { return &c.LogFormat },
		"Form of log records on standard error."),

	bind("test_clock_offset", "0s", duration(-10*year, 10*year), func(c *Config) *time.Duration { return &c.TestClockOffset },
		"For tests only: added to this node's wall clock."),
	bind("test_replica_delay", "0s", duration(0, time.Hour), func(c *Config) *time.Duration { return &c.TestReplicaDelay },
		"For tests only: waited before every replica answer."),
}
