package antientropy

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"

	"starling/antientropy/merkle"
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
	tree  *merkle.Tree
	// found counts the keys that differed.
	found int
}

// settle exchanges some partitions that differ, at most [MaxSketches]. It
// compares them once more, by themselves and with the store as it is now, for in
// a message of many the roots are older; then it makes the two sides equal in
// one after the other, and notes how that went. It fails if the peer does, or
// when the end has come.
func (p *pass) settle(ctx context.Context, unequal []ending) error {
	var begun []*exchange
	var ends []ending
	req := CompareRequest{From: p.x.opts.Self, Inner: true, Salt: rand.Uint64()}
	for _, e := range unequal {
		release, ok := p.x.reserve(p.peer, e.partition)
		if !ok {
			e.outcome = outcomeBusy
			p.ended(e)
			continue
		}
		defer release()
		e.began = p.x.now()
		x, err := p.open(e.partition)
		if err != nil {
			if err = p.settled(ctx, e, err); err != nil {
				return err
			}
			continue
		}
		begun, ends = append(begun, x), append(ends, e)
		req.Roots = append(req.Roots, RootClaim{x.claim, x.tree.Root()})
		req.Sketches = append(req.Sketches, x.tree.Sketch(req.Salt))
	}
	answers, failure := p.compare(ctx, req)
	for i, x := range begun {
		if i > 0 && p.turnOver() {
			break // the others stay due; one made some progress
		}
		err := failure
		if err == nil {
			err = x.finish(ctx, &ends[i], req.Salt, &answers[i])
		}
		if err = p.settled(ctx, ends[i], err); err != nil {
			return err
		}
	}
	return nil
}

// open reads what is compared of a partition.
func (p *pass) open(partition uint32) (*exchange, error) {
	claim, err := p.claim(partition)
	if err != nil {
		return nil, err
	}
	tree, err := readTree(p.x.opts.Store, partition)
	return &exchange{pass: p, claim: claim, tree: tree}, err
}

// finish makes the two sides equal, or says in end why not, or fails.
func (e *exchange) finish(ctx context.Context, end *ending, salt uint64, answer *Comparison) (err error) {
	switch answer.Verdict {
	case VerdictListed:
		_, err = e.page(ctx, &KeysRequest{Claim: e.claim, Inner: allInner}, &KeysPage{Leaves: answer.Leaves})
	case VerdictDiffers:
		inner := e.tree.DiffInner(salt, &answer.Inner)
		leaves := e.tree.LeafDigests(salt, inner)
		err = e.keys(ctx, KeysRequest{Claim: e.claim, Salt: salt, Inner: inner, Leaves: leaves, MaxKeys: MaxKeysPage})
	default:
		end.outcome = outcomeOf(answer.Verdict)
		return nil
	}
	end.outcome = outcomeRepaired
	if e.found == 0 {
		end.outcome = outcomeVanished
	}
	return err
}

// allInner has the bits of all inner nodes.
const allInner = 1<<merkle.Fanout - 1

// keys goes through the keys of the leaves that differ, page by page.
func (e *exchange) keys(ctx context.Context, req KeysRequest) error {
	for req.Inner != 0 {
		var page KeysPage
		err := e.call(ctx, func(ctx context.Context) (err error) {
			page, err = e.x.opts.Peers.Keys(ctx, e.peer, req)
			return err
		})
		if err != nil {
			return err
		}
		plan, err := e.page(ctx, &req, &page)
		if err != nil || !plan.more {
			return err
		}
		req.After = plan.upTo
	}
	return nil
}

// page compares a page of the peer's keys with those that are here, and ships
// what differs.
func (e *exchange) page(ctx context.Context, req *KeysRequest, page *KeysPage) (keyPlan, error) {
	theirs, err := req.list(page)
	if err != nil {
		return keyPlan{}, fmt.Errorf("%w: %w", errPeer, err)
	}
	mine, err := req.mine(ctx, e.x.opts.Store, page)
	if err != nil {
		return keyPlan{}, err
	}
	plan := planKeys(mine, theirs)
	e.found += plan.differences()
	if err := e.rest(ctx); err != nil {
		return keyPlan{}, err
	}
	return plan, e.ship(ctx, &plan)
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
	return page, req.check(&page)
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
