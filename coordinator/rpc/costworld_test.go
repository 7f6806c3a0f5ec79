package rpc

import (
	"context"
	"fmt"
	"hash/fnv"
	"iter"
	"slices"
	"sync"
	"testing"

	"starling/antientropy"
	"starling/antientropy/merkle"
	"starling/ring"
	"starling/store/object"
	"starling/store/version"
)

// costCluster is some nodes whose messages pass the codecs.
type costCluster struct {
	t     *testing.T
	view  *ring.View
	nodes []*costNode
	base  *costBase

	mu    sync.Mutex
	down  map[ring.NodeID]bool
	boots map[ring.NodeID]uint64
	spent spent
}

// costBase is what all nodes hold but for what changed.
type costBase struct {
	keys    map[uint32]map[uint16][]object.Ref
	objects map[object.Ref]object.Object
	leaves  map[uint32][]merkle.Node
}

// costNode is one node, and what the exchange needs of the rest of it.
type costNode struct {
	c      *costCluster
	id     ring.NodeID
	server *antientropy.ReplicaServer
	x      *antientropy.Exchanger

	mu     sync.Mutex
	news   map[object.Ref]object.Object
	leaves map[uint32][]merkle.Node // where they are not the base's
}

func newCostCluster(t *testing.T, nodes, partitions, keys int) *costCluster {
	c := &costCluster{t: t, base: newCostBase(partitions, keys), down: map[ring.NodeID]bool{}, boots: map[ring.NodeID]uint64{}}
	var members []ring.Member
	for i := range nodes {
		n := &costNode{c: c, id: ring.NodeID{0: byte(i + 1), 15: 1}, news: map[object.Ref]object.Object{}, leaves: map[uint32][]merkle.Node{}}
		c.nodes = append(c.nodes, n)
		c.boots[n.id] = 1
		members = append(members, ring.Member{ID: n.id, Weight: 100})
	}
	r, err := ring.New(ring.Config{Partitions: partitions, Replicas: 3}, members)
	if err != nil {
		t.Fatal(err)
	}
	c.view = ring.NewView(r, func(ring.NodeID, int) bool { return true })
	return c
}

func newCostBase(partitions, keys int) *costBase {
	b := &costBase{keys: map[uint32]map[uint16][]object.Ref{}, objects: map[object.Ref]object.Object{}, leaves: map[uint32][]merkle.Node{}}
	for p := range uint32(partitions) {
		b.keys[p], b.leaves[p] = map[uint16][]object.Ref{}, make([]merkle.Node, merkle.Leaves)
	}
	for k := range keys {
		ref := costRef(fmt.Sprintf("key-%06d", k), partitions)
		o := costWrite(object.Object{}, 1, uint64(k+1))
		leaf := costLeaf(ref)
		b.objects[ref] = o
		b.keys[ref.Partition][leaf] = append(b.keys[ref.Partition][leaf], ref)
		b.leaves[ref.Partition][leaf] = b.leaves[ref.Partition][leaf].Plus(merkle.Node{Sum: o.Hash(ref.Bucket, ref.Key), Keys: 1})
	}
	return b
}

func costRef(key string, partitions int) object.Ref {
	return object.Ref{Partition: uint32(ring.Partition("default", key, partitions)), Bucket: "default", Key: key}
}

func costLeaf(ref object.Ref) uint16 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(ref.Key))
	return uint16(h.Sum64() >> 7 % merkle.Leaves)
}

// costWrite is a value of 100 bytes on top of an object.
func costWrite(o object.Object, actor version.Actor, seq uint64) object.Object {
	s := object.Sibling{
		Dot: version.Dot{Actor: actor<<40 + 12345, Seq: seq}, Op: object.OpID{byte(seq), 15: 1},
		ContentType: "text/plain", Value: make([]byte, 100), ModifiedMS: 1_700_000_000_000 + int64(seq),
	}
	o, err := o.Update(o.Context(), s, object.Limits{})
	if err != nil {
		panic(err)
	}
	return o
}

// change writes a key at all its owners but one, and reports 1 if that is one.
func (c *costCluster) change(key string, but *costNode) (missed int) {
	ref := costRef(key, len(c.base.keys))
	next := costWrite(c.base.objects[ref], 2, 1_000_000)
	owners := c.view.Placement(int(ref.Partition)).Owners
	if !slices.Contains(owners, but.id) {
		return 0
	}
	for _, n := range c.nodes {
		if n != but && slices.Contains(owners, n.id) {
			n.merge(ref, next)
		}
	}
	return 1
}

func (n *costNode) View() *ring.View { return n.c.view }

func (n *costNode) Alive(id ring.NodeID) bool {
	n.c.mu.Lock()
	defer n.c.mu.Unlock()
	return !n.c.down[id]
}

func (n *costNode) Boot(id ring.NodeID) uint64 {
	n.c.mu.Lock()
	defer n.c.mu.Unlock()
	return n.c.boots[id]
}

func (n *costNode) Refresh(context.Context, ring.NodeID) error { return nil }

func (n *costNode) Apply(ref object.Ref, _ uint64, o object.Object) (object.Written, error) {
	merged, changed := n.merge(ref, o)
	return object.Written{Object: merged, Changed: changed, Wait: func() error { return nil }}, nil
}

// merge merges into a key of the base.
func (n *costNode) merge(ref object.Ref, o object.Object) (merged object.Object, changed bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	old := n.get(ref)
	if merged = object.Merge(old, o); merged.Equal(old) {
		return merged, false
	}
	if n.leaves[ref.Partition] == nil {
		n.leaves[ref.Partition] = slices.Clone(n.c.base.leaves[ref.Partition])
	}
	leaf := &n.leaves[ref.Partition][costLeaf(ref)]
	leaf.Sum += merged.Hash(ref.Bucket, ref.Key) - old.Hash(ref.Bucket, ref.Key)
	n.news[ref] = merged
	return merged, true
}

func (n *costNode) get(ref object.Ref) object.Object {
	if o, ok := n.news[ref]; ok {
		return o
	}
	return n.c.base.objects[ref]
}

func (n *costNode) Get(ref object.Ref) (object.Object, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.get(ref), nil
}

// tree are the leaves as they are, which must not be changed.
func (n *costNode) tree(partition uint32) []merkle.Node {
	if own := n.leaves[partition]; own != nil {
		return own
	}
	return n.c.base.leaves[partition]
}

func (n *costNode) Leaves(partition uint32) ([]merkle.Node, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.tree(partition)), nil
}

func (n *costNode) Root(partition uint32) (root merkle.Node, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, leaf := range n.tree(partition) {
		root = root.Plus(leaf)
	}
	return root, nil
}

func (n *costNode) KeyDigests(partition uint32, leaf uint16, _ object.Ref) iter.Seq2[antientropy.KeyDigest, error] {
	return func(yield func(antientropy.KeyDigest, error) bool) {
		for _, ref := range n.c.base.keys[partition][leaf] {
			o, err := n.Get(ref)
			if !yield(antientropy.KeyDigest{Ref: ref, Hash: o.Hash(ref.Bucket, ref.Key), Vector: o.Vector}, err) {
				return
			}
		}
	}
}
