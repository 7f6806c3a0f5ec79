package antientropy

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"

	"starling/store/object"
)

// errTurn: the turn is over before an exchange is.
var errTurn = errors.New("antientropy: turn over")

// errHeld: the partition is to be left alone, or is exchanged with another.
var errHeld = errors.New("antientropy: held")

// exchange is that of one partition with the peer of a pass.
type exchange struct {
	*pass
	// claim is from before the first object was read: everything that is
	// shipped goes with it, in both directions.
	claim Claim
	// found counts the keys that differed.
	found int
}

// exchange compares a partition once more, by itself and with the store as it
// is now, for in a message of many the roots are older; then it makes the two
// sides equal, and compares them again. It says in e how that went, or fails.
func (p *pass) exchange(ctx context.Context, e *ending) error {
	release, ok := p.x.reserve(p.peer, e.partition)
	if !ok {
		return errHeld
	}
	defer release()
	claim, err := p.claim(e.partition)
	if err != nil {
		return err
	}
	e.began = p.x.now()
	tree, err := readTree(p.x.opts.Store, e.partition)
	if err != nil {
		return err
	}
	salt := rand.Uint64()
	answers, err := p.compare(ctx, CompareRequest{From: p.x.opts.Self, Inner: true, Salt: salt, Roots: []RootClaim{{claim, tree.Root()}}})
	if err != nil {
		return err
	}
	if e.outcome = outcomeOf(answers[0].Verdict); e.outcome != outcomeUnfinished {
		e.proven = e.outcome == outcomeEqual
		return nil
	}
	inner := tree.DiffInner(salt, &answers[0].Inner)
	x := &exchange{pass: p, claim: claim}
	err = x.keys(ctx, KeysRequest{Claim: claim, Salt: salt, Inner: inner, Leaves: tree.LeafDigests(salt, inner), MaxKeys: MaxKeysPage})
	if err != nil {
		return err
	}
	e.outcome = outcomeRepaired
	if x.found == 0 {
		e.outcome = outcomeVanished
	}
	return p.again(ctx, e)
}

// again compares the roots after a repair.
func (p *pass) again(ctx context.Context, e *ending) error {
	e.began = p.x.now()
	root, o := p.root(e.partition)
	if o != outcomeEqual {
		return nil // it is not proven
	}
	answers, err := p.compare(ctx, CompareRequest{From: p.x.opts.Self, Roots: []RootClaim{root}})
	if err == nil {
		e.proven = answers[0].Verdict == VerdictEqual
	}
	return err
}

// keys goes through the keys of the leaves that differ, page by page.
func (e *exchange) keys(ctx context.Context, req KeysRequest) error {
	for req.Inner != 0 {
		plan, err := e.plan(ctx, &req)
		if err != nil {
			return err
		}
		if err := e.ship(ctx, &plan); err != nil || !plan.more {
			return err
		}
		req.After = plan.upTo
	}
	return nil
}

// plan gets a page of the peer's keys and compares it with those that are here.
func (e *exchange) plan(ctx context.Context, req *KeysRequest) (keyPlan, error) {
	var page KeysPage
	err := e.call(ctx, func(ctx context.Context) (err error) {
		page, err = e.x.opts.Peers.Keys(ctx, e.peer, *req)
		return err
	})
	if err != nil {
		return keyPlan{}, err
	}
	theirs, err := req.list(&page)
	if err != nil {
		return keyPlan{}, fmt.Errorf("%w: %w", errPeer, err)
	}
	mine, err := e.mine(ctx, &page, req.After)
	if err != nil {
		return keyPlan{}, err
	}
	plan := planKeys(mine, theirs)
	e.found += plan.differences()
	return plan, e.rest(ctx)
}

// mine reads this node's keys of the leaves of a page, from where it begins.
func (e *exchange) mine(ctx context.Context, page *KeysPage, after KeyPosition) (l listing, err error) {
	r := keyReader{store: e.x.opts.Store, partition: e.claim.Partition, maxKeys: MaxKeysPage, maxBytes: MaxKeysBytes}
	for _, leaf := range page.Leaves {
		keys, err := r.read(ctx, leaf.Leaf, after)
		if err != nil {
			return listing{}, err
		}
		for _, k := range keys {
			l.keys = append(l.keys, listedKey{leaf.Leaf, k})
		}
		if l.more = r.full(); l.more {
			break
		}
	}
	return l, nil
}

// ship carries a plan out.
func (e *exchange) ship(ctx context.Context, plan *keyPlan) error {
	if err := e.fetch(ctx, plan.fetch, false); err != nil {
		return err
	}
	if err := e.fetch(ctx, plan.both, true); err != nil {
		return err
	}
	return e.push(ctx, plan.push)
}

// fetch gets objects from the peer and merges them here; if they are to go
// back, what they became here is pushed.
func (e *exchange) fetch(ctx context.Context, refs []object.Ref, back bool) error {
	for len(refs) > 0 {
		page, err := e.fetchPage(ctx, refs[:min(len(refs), MaxRefs)])
		if err != nil {
			return err
		}
		refs = refs[page.Done:]
		merged, bytes, err := e.merge(page.Entries)
		if err != nil {
			return err
		}
		e.x.metrics.fetched.add(len(page.Entries), bytes)
		e.count(len(page.Entries), bytes)
		if err := e.pay(ctx, bytes); err != nil {
			return err
		}
		if !back {
			merged = nil
		}
		if err := e.pushAll(ctx, merged); err != nil {
			return err
		}
		if err := e.pause(ctx); err != nil {
			return err
		}
	}
	return nil
}

// fetchPage asks for objects and checks that the answer has no others.
func (e *exchange) fetchPage(ctx context.Context, refs []object.Ref) (page FetchPage, err error) {
	if e.x.held(e.claim.Partition) {
		return page, errHeld
	}
	req := FetchRequest{Claim: e.claim, Refs: refs, MaxBytes: uint32(e.pageBytes())}
	err = e.call(ctx, func(ctx context.Context) (err error) {
		page, err = e.x.opts.Peers.Fetch(ctx, e.peer, req)
		return err
	})
	if err != nil {
		return page, err
	}
	if page.Done == 0 || int64(page.Done) > int64(len(refs)) {
		return page, fmt.Errorf("%w: %w: %d of %d keys", errPeer, errPage, page.Done, len(refs))
	}
	asked := refs[:page.Done]
	for _, entry := range page.Entries {
		for len(asked) > 0 && asked[0] != entry.Ref {
			asked = asked[1:]
		}
		if len(asked) == 0 {
			return page, fmt.Errorf("%w: %w: an object that was not asked for", errPeer, errPage)
		}
		asked = asked[1:]
	}
	return page, nil
}

// merge merges objects here, under the stamp that they were asked for with, and
// returns when they are durable. It gives what they became, and their size.
func (e *exchange) merge(entries []object.Entry) (merged []object.Entry, bytes int, err error) {
	b := batch{applier: e.x.opts.Applier, stamp: e.claim.Stamp}
	merged = make([]object.Entry, 0, len(entries))
	for _, entry := range entries {
		o, err := b.apply(entry)
		if err != nil {
			return nil, 0, errors.Join(err, b.wait())
		}
		bytes += sizeOf(entry.Ref, entry.Object)
		merged = append(merged, object.Entry{Ref: entry.Ref, Object: o})
	}
	return merged, bytes, b.wait()
}

// push reads objects and gives them to the peer, page by page.
func (e *exchange) push(ctx context.Context, refs []object.Ref) error {
	for len(refs) > 0 {
		var page []object.Entry
		bytes, most := 0, e.pageBytes()
		for len(refs) > 0 && len(page) < MaxRefs && bytes < most {
			o, err := e.x.opts.Store.Get(refs[0])
			if err != nil {
				return err
			}
			if !o.Absent() {
				page = append(page, object.Entry{Ref: refs[0], Object: o})
				bytes += sizeOf(refs[0], o)
			}
			refs = refs[1:]
		}
		if err := e.pushPage(ctx, page, bytes); err != nil {
			return err
		}
		if err := e.pause(ctx); err != nil {
			return err
		}
	}
	return nil
}

// pushAll gives objects to the peer, in as many pages as they need.
func (e *exchange) pushAll(ctx context.Context, entries []object.Entry) error {
	for len(entries) > 0 {
		n, bytes, most := 0, 0, e.pageBytes()
		for n < len(entries) && n < MaxRefs && bytes < most {
			bytes += sizeOf(entries[n].Ref, entries[n].Object)
			n++
		}
		if err := e.pushPage(ctx, entries[:n], bytes); err != nil {
			return err
		}
		entries = entries[n:]
	}
	return nil
}

func (e *exchange) pushPage(ctx context.Context, page []object.Entry, bytes int) error {
	if len(page) == 0 {
		return nil
	}
	if err := e.pay(ctx, bytes); err != nil {
		return err
	}
	if e.x.held(e.claim.Partition) {
		return errHeld
	}
	var news uint32
	err := e.call(ctx, func(ctx context.Context) (err error) {
		news, err = e.x.opts.Peers.Push(ctx, e.peer, PushRequest{Claim: e.claim, Entries: page})
		return err
	})
	if err != nil {
		return err
	}
	e.x.metrics.pushed.add(len(page), bytes)
	e.x.metrics.redundantPush.Add(float64(max(0, len(page)-int(news))))
	e.count(len(page), bytes)
	return nil
}

func (e *exchange) pageBytes() int { return e.x.pace.pageBytes(e.x.opts.PageBytes) }

// count counts what was shipped for the repair that may have asked for it.
func (e *exchange) count(keys, bytes int) {
	e.x.mu.Lock()
	defer e.x.mu.Unlock()
	e.x.ledger.shipped(e.peer, e.claim.Partition, keys, bytes)
}

// pause rests after a page, and ends the exchange if the turn is over.
func (e *exchange) pause(ctx context.Context) error {
	if err := e.rest(ctx); err != nil {
		return err
	}
	if e.turnOver() {
		return errTurn
	}
	return nil
}
