package antientropy

import (
	"context"
	"errors"
	"slices"
)

// HandlePurge forgets keys, and answers when that is durable, with how many it
// is done. A key whose stamp is not in force is left alone. On an error some may
// be gone; each was right by itself.
func (s *ReapedServer) HandlePurge(ctx context.Context, req PurgeRequest) (done uint32, err error) {
	v, err := s.viewFor(len(req.Keys))
	if err != nil {
		return 0, err
	}
	if v.Fence() < req.Fence {
		return 0, nil
	}
	s.opts.Hold(partitionsOf(req.Keys), holdTime)
	var waits []func() error
	for i := range req.Keys {
		if err = ctx.Err(); err != nil {
			break
		}
		k := &req.Keys[i]
		pl, ok := placementOf(v, k.Ref.Partition)
		if !ok || pl.Stamp != k.Stamp {
			continue
		}
		owner := contains(pl.Owners, s.opts.Self)
		_ = s.opts.Gate.Under(k.Ref, k.Stamp, func() error {
			finished, wait, err := s.forget(owner, k)
			if wait != nil {
				waits = append(waits, wait)
			}
			if err == nil && finished {
				done++
			}
			return err
		}) // not done: it is not counted, and the leader tries again
	}
	for _, wait := range waits {
		err = errors.Join(err, wait())
	}
	if err != nil {
		return 0, err
	}
	return done, nil
}

func partitionsOf(keys []PurgeKey) []uint32 {
	var parts []uint32
	for i := range keys {
		parts = append(parts, keys[i].Ref.Partition)
	}
	slices.Sort(parts)
	return slices.Compact(parts)
}

// forget does with one key what it is to be purged for, and says whether
// nothing is left to do. It runs under the gate.
func (s *ReapedServer) forget(owner bool, k *PurgeKey) (finished bool, wait func() error, err error) {
	o, err := s.opts.Rows.Get(k.Ref)
	if err != nil {
		return false, nil, err
	}
	hash := o.Hash(k.Ref.Bucket, k.Ref.Key)
	switch {
	case o.Absent():
		// What made it so may not be durable yet: Purge has a wait for that.
		_, wait, err = s.opts.Purger.Purge(k.Ref, k.Hash)
		return true, wait, err
	case !owner && k.Vector.Descends(o.Vector):
		return s.opts.Purger.Purge(k.Ref, hash)
	case owner && hash == k.Hash && k.Reap == ReapDelete && mayGo(o):
		return s.opts.Purger.Purge(k.Ref, hash)
	case owner && k.Reap == ReapPrune && (hash == k.Hash || o.Vector.Equal(k.Vector)):
		pruned, wait, err := s.opts.Purger.Prune(k.Ref, hash, k.Vector)
		return pruned || o.Vector.Equal(k.Vector), wait, err
	}
	return false, nil, nil
}
