package antientropy

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"starling/antientropy/merkle"
	"starling/ring"
)

// differ finds out what an owner and this node hold differently of a partition
// that this node does not own: because it fills its copy, or gives it up. It
// takes no part in the exchanges of the owners among themselves.
type differ struct {
	self    ring.NodeID
	peers   ReplicaPeers
	store   ReplicaStore
	timeout time.Duration // of one request
	// rest pauses for work of some length that was done here.
	rest func(ctx context.Context, worked time.Duration) error
}

// call runs one request to a peer. What is wrong with it is errPeer, unless it
// was refused.
func (d *differ) call(ctx context.Context, request func(context.Context) error) error {
	return callPeer(ctx, d.timeout, request)
}

func callPeer(ctx context.Context, timeout time.Duration, request func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	err := request(ctx)
	if err == nil || errors.Is(err, ErrRefused) {
		return err
	}
	return fmt.Errorf("%w: %w", errPeer, err)
}

// equal tells of which partitions an owner holds exactly what is held here, by
// their roots. Of the others it says nothing, whatever the reason. It fails if
// the owner does.
func (d *differ) equal(ctx context.Context, owner ring.NodeID, claims []Claim) (map[uint32]bool, error) {
	same := map[uint32]bool{}
	for len(claims) > 0 {
		n := min(len(claims), MaxRoots)
		req := CompareRequest{From: d.self}
		for _, c := range claims[:n] {
			if root, err := d.store.Root(c.Partition); err == nil {
				req.Roots = append(req.Roots, RootClaim{Claim: c, Root: root})
			}
		}
		claims = claims[n:]
		var answers []Comparison
		err := d.call(ctx, func(ctx context.Context) (err error) {
			answers, err = d.peers.Compare(ctx, owner, req)
			return err
		})
		if err == nil && len(answers) != len(req.Roots) {
			err = fmt.Errorf("%w: %w: %d verdicts for %d roots", errPeer, errPage, len(answers), len(req.Roots))
		}
		if err != nil {
			return nil, err
		}
		for i, a := range answers {
			same[req.Roots[i].Partition] = a.Verdict == VerdictEqual
		}
	}
	return same, nil
}

// salts is how many times all keys are gone through before two copies count as
// compared. Digests of leaves that differ are equal with a chance of 2^-32, anew
// under every salt.
const salts = 2

// pass goes through all keys that the owner and this node hold differently, page
// by page, and has ship make good what is amiss. It fails with [ErrRefused] if
// the owner goes by another placement than the claim, and with the errors of
// ship.
//
// The owner's keys of a page are listed before ship reads an object here. The
// safety of giving up a copy rests on that order; see the package comment.
func (d *differ) pass(ctx context.Context, owner ring.NodeID, claim Claim, ship func(context.Context, *keyPlan) error) error {
	began := time.Now()
	tree, err := readTree(d.store, claim.Partition)
	if err != nil {
		return fmt.Errorf("antientropy: partition %d: %w", claim.Partition, err)
	}
	const everywhere = 1<<merkle.Fanout - 1
	req := KeysRequest{Claim: claim, Salt: rand.Uint64(), Inner: everywhere, MaxKeys: MaxKeysPage}
	req.Leaves = tree.LeafDigests(req.Salt, req.Inner)
	if err := d.rest(ctx, time.Since(began)); err != nil {
		return err
	}
	for {
		plan, err := d.plan(ctx, owner, &req)
		if err != nil {
			return err
		}
		if err := ship(ctx, &plan); err != nil {
			return err
		}
		if !plan.more {
			return nil
		}
		req.After = plan.upTo
	}
}

// plan gets a page of the owner's keys and compares it with those that are here.
func (d *differ) plan(ctx context.Context, owner ring.NodeID, req *KeysRequest) (keyPlan, error) {
	var page KeysPage
	err := d.call(ctx, func(ctx context.Context) (err error) {
		page, err = d.peers.Keys(ctx, owner, *req)
		return err
	})
	if err != nil {
		return keyPlan{}, err
	}
	theirs, err := req.list(&page)
	if err != nil {
		return keyPlan{}, fmt.Errorf("%w: %w", errPeer, err)
	}
	began := time.Now()
	mine, err := req.mine(ctx, d.store, &page)
	if err != nil {
		return keyPlan{}, err
	}
	return planKeys(mine, theirs), d.rest(ctx, time.Since(began))
}

// fetch gets the leading objects of a list from an owner, and checks that there
// are no others. Those that the owner has no more are left out.
func (d *differ) fetch(ctx context.Context, owner ring.NodeID, req FetchRequest) (page FetchPage, err error) {
	err = d.call(ctx, func(ctx context.Context) (err error) {
		page, err = d.peers.Fetch(ctx, owner, req)
		return err
	})
	if err != nil {
		return page, err
	}
	return page, req.check(&page)
}
