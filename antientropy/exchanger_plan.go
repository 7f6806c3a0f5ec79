package antientropy

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"starling/antientropy/merkle"
	"starling/store/object"
)

// errPage: a peer's answer is not what it was asked for.
var errPage = errors.New("antientropy: malformed answer")

// Compare orders positions by leaf, bucket, key.
func (p KeyPosition) Compare(o KeyPosition) int {
	return cmp.Or(cmp.Compare(p.Leaf, o.Leaf), cmp.Compare(p.Ref.Bucket, o.Ref.Bucket), cmp.Compare(p.Ref.Key, o.Ref.Key))
}

// listedKey is a key with its leaf.
type listedKey struct {
	leaf uint16
	KeyDigest
}

func (k *listedKey) position() KeyPosition { return KeyPosition{Leaf: k.leaf, Ref: k.Ref} }

// listing is what one replica holds of some leaves behind a position, in the
// order of leaf, bucket, key.
type listing struct {
	keys []listedKey
	// more: there may be others behind the last key, of which there is one.
	more bool
}

// keyPlan says what makes two replicas equal in some keys. The lists are in
// the order of leaf, bucket, key and have no key in common.
type keyPlan struct {
	// fetch: the peer knows all that is known here, and more. push: the
	// reverse. both: each knows something that the other does not, so the
	// peer's object is fetched and the merge is pushed.
	fetch, push, both []object.Ref
	// upTo is how far the plan reaches, if there may be more behind it.
	upTo KeyPosition
	more bool
}

// planKeys compares what two replicas hold, as far as both lists reach.
func planKeys(mine, theirs listing) keyPlan {
	var p keyPlan
	for _, side := range []listing{mine, theirs} {
		if !side.more {
			continue
		}
		if end := side.keys[len(side.keys)-1].position(); !p.more || end.Compare(p.upTo) < 0 {
			p.more, p.upTo = true, end
		}
	}
	a, b := mine.keys, theirs.keys
	for len(a) > 0 || len(b) > 0 {
		order := nextKey(a, b)
		first := b
		if order <= 0 {
			first = a
		}
		if p.more && first[0].position().Compare(p.upTo) > 0 {
			break
		}
		switch order {
		case -1:
			p.push, a = append(p.push, a[0].Ref), a[1:]
		case +1:
			p.fetch, b = append(p.fetch, b[0].Ref), b[1:]
		default:
			p.compare(&a[0].KeyDigest, &b[0].KeyDigest)
			a, b = a[1:], b[1:]
		}
	}
	return p
}

// nextKey tells which list has the first key: -1 a, +1 b, 0 both. One of them
// is not empty.
func nextKey(a, b []listedKey) int {
	switch {
	case len(a) == 0:
		return +1
	case len(b) == 0:
		return -1
	}
	return a[0].position().Compare(b[0].position())
}

// compare plans for a key that both replicas have.
func (p *keyPlan) compare(mine, theirs *KeyDigest) {
	below, above := theirs.Vector.Descends(mine.Vector), mine.Vector.Descends(theirs.Vector)
	switch {
	case mine.Hash == theirs.Hash:
	case below && !above:
		p.fetch = append(p.fetch, mine.Ref)
	case above && !below:
		p.push = append(p.push, mine.Ref)
	default:
		p.both = append(p.both, mine.Ref)
	}
}

// differences counts the keys of the plan.
func (p *keyPlan) differences() int { return len(p.fetch) + len(p.push) + len(p.both) }

// list checks a page against its request, and gives its keys in one list.
func (req *KeysRequest) list(page *KeysPage) (listing, error) {
	l := listing{more: page.More}
	last := req.After
	for i := range page.Leaves {
		leaf := &page.Leaves[i]
		if i > 0 && leaf.Leaf <= page.Leaves[i-1].Leaf || !req.asksFor(leaf.Leaf) {
			return listing{}, fmt.Errorf("%w: leaf %d", errPage, leaf.Leaf)
		}
		for _, k := range leaf.Keys {
			key := listedKey{leaf.Leaf, k}
			if k.Ref.Partition != req.Partition || k.Hash == 0 || key.position().Compare(last) <= 0 {
				return listing{}, fmt.Errorf("%w: key of leaf %d", errPage, leaf.Leaf)
			}
			last = key.position()
			l.keys = append(l.keys, key)
		}
	}
	if len(l.keys) > MaxKeysPage || l.more && len(l.keys) == 0 {
		return listing{}, fmt.Errorf("%w: page of %d keys", errPage, len(l.keys))
	}
	return l, nil
}

// asksFor says whether a leaf is one that the request is about.
func (req *KeysRequest) asksFor(leaf uint16) bool {
	return leaf < merkle.Leaves && req.Inner>>(leaf/merkle.Fanout)&1 != 0 && leaf >= req.After.Leaf
}

// mine reads what is here of the leaves of a peer's page, from where it begins.
func (req *KeysRequest) mine(ctx context.Context, store ReplicaStore, page *KeysPage) (l listing, err error) {
	r := keyReader{store: store, partition: req.Partition, maxKeys: MaxKeysPage, maxBytes: MaxKeysBytes}
	for _, leaf := range page.Leaves {
		keys, err := r.read(ctx, leaf.Leaf, req.After)
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

// check fails with errPeer if an answer has something that was not asked for.
func (req *FetchRequest) check(page *FetchPage) error {
	if page.Done == 0 || int64(page.Done) > int64(len(req.Refs)) {
		return fmt.Errorf("%w: %w: %d of %d keys", errPeer, errPage, page.Done, len(req.Refs))
	}
	asked := req.Refs[:page.Done]
	for _, entry := range page.Entries {
		for len(asked) > 0 && asked[0] != entry.Ref {
			asked = asked[1:]
		}
		if len(asked) == 0 {
			return fmt.Errorf("%w: %w: an object that was not asked for", errPeer, errPage)
		}
		asked = asked[1:]
	}
	return nil
}
