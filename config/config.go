package config

import (
	"log/slog"
	"net"
	"os"
	"time"

	"github.com/spf13/pflag"
)

// Config is everything that one node is told when it starts. Every field is
// within the bounds that docs/configuration.md lists.
type Config struct {
	// Name is this node's label in answers and tables.
	Name string
	// DataDir holds the store; it is made when missing.
	DataDir string

	// HTTP, RPC and Gossip are the host:port pairs to listen on. Port 0 asks
	// for any free port.
	HTTP, RPC, Gossip string
	// AdvertiseHTTP, AdvertiseRPC and AdvertiseGossip are the host:port pairs
	// that others use. The host is never empty or unspecified. Port 0 stands
	// for the port that was bound.
	AdvertiseHTTP, AdvertiseRPC, AdvertiseGossip string
	// Join has the RPC host:port pairs of members to ask for admission; empty
	// for the node that creates a cluster.
	Join []string
	// Replace is the name or ID of the dead member whose place this node takes
	// when it joins; empty for none.
	Replace string
	// Zone is the failure domain; replicas are spread over distinct ones.
	Zone string
	// Weight is this node's relative share of the data; 100 is normal.
	Weight uint32

	// Replicas (N) and Partitions (Q) are fixed when a cluster is created.
	Replicas, Partitions int

	// Durability is "sync", "interval" or "none".
	Durability string
	// DurabilityInterval is the time between two disk syncs of "interval".
	DurabilityInterval time.Duration
	// MaxValueBytes bounds one value, MaxSiblings the siblings of one key.
	MaxValueBytes int64
	MaxSiblings   int
	// CacheBytes is the store's memory for blocks and memtables.
	CacheBytes int64
	// FreeFloorBytes is the free disk space below which writes are refused.
	FreeFloorBytes int64
	// TombstonesMinAge is the age at which purging a tombstone is first tried.
	TombstonesMinAge time.Duration

	// MaxInflight bounds the client requests served at a time,
	// MaxInflightBytes the values that these hold, MaxConnections the client
	// connections.
	MaxInflight      int
	MaxInflightBytes int64
	MaxConnections   int
	// DefaultTimeout is the deadline of a request that names none, MaxTimeout
	// the longest that a request may name.
	DefaultTimeout, MaxTimeout time.Duration
	// ShutdownGrace is how long a stop waits for running requests, DrainDelay
	// how long it goes on taking them before that.
	ShutdownGrace, DrainDelay time.Duration

	ReadRepairEnabled bool
	HintsEnabled      bool
	// HintsMaxBytes bounds the hints kept for all other nodes together,
	// HintsMaxTargetBytes those for one.
	HintsMaxBytes, HintsMaxTargetBytes int64
	// HintsBytesPerSecond is the pace of their delivery.
	HintsBytesPerSecond int64
	AntientropyEnabled  bool
	AntientropyInterval time.Duration
	// AntientropyBytesPerSecond is the pace of shipping objects between owners.
	AntientropyBytesPerSecond int64
	// TransferBytesPerSecond is the pace at which this node takes over
	// partitions, and parts with those that it is to keep no more.
	TransferBytesPerSecond int64

	// ProfilesEnabled serves profiles of the process under /debug/pprof/.
	ProfilesEnabled bool
	LogLevel        slog.Level
	// LogFormat is "text" or "json".
	LogFormat string

	// TestClockOffset is added to this node's wall clock, TestReplicaDelay is
	// waited before every replica answer.
	TestClockOffset, TestReplicaDelay time.Duration

	sources map[string]string // by setting name; a default has no entry
}

// Setting is one line of `starling config show`.
type Setting struct {
	// Name is the key in the file. Flag and variable follow from it.
	Name string `json:"name"`
	// Value is the value in force, in a form that Load would take.
	Value string `json:"value"`
	// Source is "flag --x", "env STARLING_X", "file PATH" or "default".
	Source string `json:"source"`
	// Description is one sentence or two.
	Description string `json:"description"`
}

// Load reads the settings from the changed flags of fs (nil: none), the
// STARLING_ variables of environ ("NAME=value", as [os.Environ] gives them)
// and the file that one of the two names. The error is [Problems].
func Load(fs *pflag.FlagSet, environ []string) (Config, error) {
	return load(fs, environ, machine{hostname: os.Hostname, addrs: net.InterfaceAddrs})
}

// Settings lists every setting with its value and source, in the order of
// docs/configuration.md.
func (c Config) Settings() []Setting {
	out := make([]Setting, 0, len(fields))
	for _, f := range fields {
		out = append(out, Setting{Name: f.name, Value: f.get(&c), Source: c.source(f.name), Description: f.about})
	}
	return out
}

// IsSet says whether a flag, a variable or the file gave the setting, even if
// it gave the default value.
func (c Config) IsSet(name string) bool {
	_, ok := c.sources[name]
	return ok
}

func (c Config) source(name string) string {
	if s, ok := c.sources[name]; ok {
		return s
	}
	return "default"
}
