package state

import (
	"fmt"
	"unicode"
	"unicode/utf8"

	"starling/ring"
	"starling/store/bucket"
)

// Bounds of a map.
const (
	// MaxRecords is the number of records, removed members included. Members that are not removed are bounded by
	// ring.MaxMembers.
	MaxRecords = 4096
	// MaxNameBytes bounds Name and Zone.
	MaxNameBytes = 128
	// MaxAddressBytes bounds RPC, HTTP and Gossip.
	MaxAddressBytes = 220
	// MaxExtraBytes bounds the unknown fields of one record, and of the settings.
	MaxExtraBytes = 4096
	// MaxBoot bounds the boot counter, so that Boot<<32|n fits in 64 bits.
	MaxBoot = 1<<32 - 1
	// MaxMapBytes bounds the encoding of a map.
	MaxMapBytes = 32 << 20
)

// Validate is ErrSettings if this build cannot serve a cluster with these settings.
func (s Settings) Validate() error {
	switch {
	case s.IsZero():
		return fmt.Errorf("%w: there are none: create a cluster or join one", ErrSettings)
	case s.Cluster == [16]byte{}:
		return fmt.Errorf("%w: the cluster ID is zero", ErrSettings)
	case s.HashVersion != HashVersion:
		return fmt.Errorf("%w: cluster %x hashes keys by version %d, this build knows version %d: run a release that knows it",
			ErrSettings, s.Cluster, s.HashVersion, HashVersion)
	case len(s.extra) > MaxExtraBytes:
		return fmt.Errorf("%w: %d bytes of unknown settings, at most %d", ErrSettings, len(s.extra), MaxExtraBytes)
	}
	if err := s.Ring().Validate(); err != nil {
		return fmt.Errorf("%w: %w", ErrSettings, err)
	}
	return nil
}

// Validate is ErrInvalid if a field of the record is out of bounds.
func (r Member) Validate() error {
	if r.ID.IsZero() {
		return fmt.Errorf("%w: a record without a node ID", ErrInvalid)
	}
	if err := r.check(); err != nil {
		return fmt.Errorf("%w: record of %v: %w", ErrInvalid, r.ID, err)
	}
	return nil
}

func (r Member) check() error {
	for _, f := range []struct {
		what, text string
		maxBytes   int
	}{
		{"name", r.Name, MaxNameBytes},
		{"zone", r.Zone, MaxNameBytes},
		{"RPC address", r.RPC, MaxAddressBytes},
		{"HTTP address", r.HTTP, MaxAddressBytes},
		{"gossip address", r.Gossip, MaxAddressBytes},
	} {
		if err := checkText(f.text, f.maxBytes); err != nil {
			return fmt.Errorf("%s %w", f.what, err)
		}
	}
	switch {
	case r.Weight < 1 || r.Weight > ring.MaxWeight:
		return fmt.Errorf("weight %d: want 1 to %d", r.Weight, ring.MaxWeight)
	case !r.State.Valid():
		return fmt.Errorf("unknown state %d", r.State)
	case r.Boot > MaxBoot:
		return fmt.Errorf("boot counter %d: at most %d", r.Boot, uint64(MaxBoot))
	case len(r.extra) > MaxExtraBytes:
		return fmt.Errorf("%d bytes of unknown fields: at most %d", len(r.extra), MaxExtraBytes)
	case r.Settled.end() > ring.MaxPartitions:
		return fmt.Errorf("settled partition %d: at most %d partitions", r.Settled.end()-1, ring.MaxPartitions)
	case len(r.Settled) != len(r.Settled.trim()):
		return fmt.Errorf("settled bits end in zero bytes")
	case r.State == Removed && len(r.Settled) > 0:
		return fmt.Errorf("removed, but with settled partitions")
	case r.State != Removed && !r.Heir.IsZero():
		return fmt.Errorf("replaced by %v, but not removed", r.Heir)
	case r.State != Removed && r.Forced:
		return fmt.Errorf("removed by force, but not removed")
	case r.Heir == r.ID:
		return fmt.Errorf("replaced by itself")
	}
	return nil
}

func checkText(s string, maxBytes int) error {
	if len(s) > maxBytes {
		return fmt.Errorf("has %d bytes: at most %d", len(s), maxBytes)
	}
	if !utf8.ValidString(s) {
		return fmt.Errorf("is not UTF-8")
	}
	for _, c := range s {
		if unicode.IsControl(c) {
			return fmt.Errorf("has a control character")
		}
	}
	return nil
}

// check is ErrTooManyMembers or ErrTooManyBuckets for a map beyond its bounds.
func (m Map) check() error {
	if len(m.Members) > MaxRecords {
		return fmt.Errorf("%w: %d records, removed ones included: at most %d", ErrTooManyMembers, len(m.Members), MaxRecords)
	}
	live := 0
	for _, r := range m.Members {
		if r.State != Removed {
			live++
		}
	}
	if live > ring.MaxMembers {
		return fmt.Errorf("%w: %d: at most %d", ErrTooManyMembers, live, ring.MaxMembers)
	}
	if len(m.Buckets) > bucket.MaxMerged {
		return fmt.Errorf("%w: %d that are declared or were dropped: at most %d", ErrTooManyBuckets, len(m.Buckets), bucket.MaxMerged)
	}
	return nil
}
