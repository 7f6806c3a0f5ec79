package state

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"

	"starling/store/bucket"
)

// Merge is the map that knows all that a and b know: of each record the furthest State, the highest Fence, the
// Heir of the highest ID, the mark of a forced removal if either has it, and the owner's latest Version; of the
// buckets what [bucket.Merge] says.
// Two contents under one Version, which only a copied data directory can produce, are settled by comparing their
// bytes. Zero settings take the other's; others must be equal, else ErrForeignCluster or ErrSettings. Merge is
// idempotent, commutative and associative. The result shares memory with a and b.
func Merge(a, b Map) (Map, error) {
	s, err := mergeSettings(a.Settings, b.Settings)
	if err != nil {
		return Map{}, err
	}
	m := Map{Settings: s, Members: mergeMembers(a.Members, b.Members), Buckets: bucket.Merge(a.Buckets, b.Buckets)}
	if err := m.check(); err != nil {
		return Map{}, err
	}
	return m, nil
}

func mergeSettings(a, b Settings) (Settings, error) {
	switch {
	case a == b || b.IsZero():
		return a, nil
	case a.IsZero():
		return b, nil
	case a.Cluster != b.Cluster:
		return Settings{}, fmt.Errorf("%w: one side is of cluster %x, the other of cluster %x: "+
			"correct the join addresses, or start the node that should move with an empty data directory",
			ErrForeignCluster, a.Cluster, b.Cluster)
	default:
		return Settings{}, fmt.Errorf("%w: cluster %x has %s on one side and %s on the other: "+
			"start the node that is wrong with an empty data directory and the settings of the cluster",
			ErrSettings, a.Cluster, a.terms(b), b.terms(a))
	}
}

// terms lists what differs from o. The secret is only named.
func (s Settings) terms(o Settings) string {
	var list []byte
	add := func(differs bool, format string, args ...any) {
		if !differs {
			return
		}
		if len(list) > 0 {
			list = append(list, ", "...)
		}
		list = fmt.Appendf(list, format, args...)
	}
	add(s.Partitions != o.Partitions, "%d partitions", s.Partitions)
	add(s.Replicas != o.Replicas, "%d replicas", s.Replicas)
	add(s.HashVersion != o.HashVersion, "hash version %d", s.HashVersion)
	add(s.Secret != o.Secret, "one secret")
	add(s.extra != o.extra, "%d bytes of settings of a newer release", len(s.extra))
	return string(list)
}

// mergeMembers zips two sorted lists.
func mergeMembers(a, b []Member) []Member {
	merged := make([]Member, 0, max(len(a), len(b)))
	for len(a) > 0 && len(b) > 0 {
		switch c := a[0].ID.Compare(b[0].ID); {
		case c < 0:
			merged, a = append(merged, a[0].normal()), a[1:]
		case c > 0:
			merged, b = append(merged, b[0].normal()), b[1:]
		default:
			merged, a, b = append(merged, mergeMember(a[0], b[0])), a[1:], b[1:]
		}
	}
	for _, r := range slices.Concat(a, b) {
		merged = append(merged, r.normal())
	}
	if len(merged) == 0 {
		return nil
	}
	return merged
}

func mergeMember(a, b Member) Member {
	r := a
	if compareOwned(a, b) < 0 {
		r = b
	}
	r.State, r.Fence = max(a.State, b.State), max(a.Fence, b.Fence)
	r.Forced = a.Forced || b.Forced
	if r.Heir = a.Heir; r.Heir.Compare(b.Heir) < 0 {
		r.Heir = b.Heir
	}
	return r.normal()
}

// compareOwned orders two versions of the owner-written part of one record. The settled bits come last: a removal
// drops them, and must not change the order of what is left, or Merge would not be associative.
func compareOwned(a, b Member) int {
	if c := cmp.Compare(a.Version, b.Version); c != 0 {
		return c
	}
	if c := compareLabels(a, b); c != 0 {
		return c
	}
	return bytes.Compare(a.Settled, b.Settled)
}

// compareLabels orders the owner-written fields other than Version and Settled.
func compareLabels(a, b Member) int {
	return cmp.Or(
		cmp.Compare(a.Boot, b.Boot),
		cmp.Compare(a.Name, b.Name),
		cmp.Compare(a.RPC, b.RPC),
		cmp.Compare(a.HTTP, b.HTTP),
		cmp.Compare(a.Gossip, b.Gossip),
		cmp.Compare(a.Zone, b.Zone),
		cmp.Compare(a.Weight, b.Weight),
		cmp.Compare(a.extra, b.extra),
	)
}

// Overtaken says whether theirs, a copy of a node's own record that came back from elsewhere, cannot stem from the node
// that now holds mine: a later start, a later Version, or other content under the same Version. Then this node's data
// directory was restored or copied, and somebody else runs, or ran, with its identity.
func Overtaken(mine, theirs Member) bool {
	switch {
	case theirs.Boot > mine.Boot || theirs.Version > mine.Version:
		return true
	case theirs.Version < mine.Version:
		return false
	case theirs.State == Removed:
		// A removal drops the settled bits, whoever did it.
		return compareLabels(mine, theirs) != 0
	default:
		return compareOwned(mine, theirs) != 0
	}
}
