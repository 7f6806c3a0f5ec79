package gossip

import (
	"bytes"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/memberlist"
	"github.com/prometheus/client_golang/prometheus"

	"starling/ring"
)

// maxPeers bounds the memberlist nodes that are remembered, several starts of one member included.
const maxPeers = 4096

// table is the last word of memberlist on every node that is alive. memberlist calls it under its own lock, so it
// must not call back, and does not wait for anything but its own short lock.
type table struct {
	self    Peer // ID and Boot only
	dropped prometheus.Counter
	logger  *slog.Logger
	// overtaken is called when a later start of this very node is alive.
	overtaken func(boot uint64)

	mu     sync.Mutex
	byName map[string]Peer

	live  atomic.Pointer[map[ring.NodeID]Peer] // the latest start of every live member, self excluded
	dirty chan struct{}                        // capacity 1: live has changed
}

func newTable(self Peer, dropped prometheus.Counter, logger *slog.Logger, overtaken func(boot uint64)) *table {
	t := &table{self: self, dropped: dropped, logger: logger, overtaken: overtaken,
		byName: make(map[string]Peer), dirty: make(chan struct{}, 1)}
	t.live.Store(&map[ring.NodeID]Peer{})
	return t
}

// NotifyJoin implements memberlist.EventDelegate.
func (t *table) NotifyJoin(n *memberlist.Node) { t.heard(n.Name, n.Meta) }

// NotifyUpdate implements memberlist.EventDelegate.
func (t *table) NotifyUpdate(n *memberlist.Node) { t.heard(n.Name, n.Meta) }

// NotifyLeave implements memberlist.EventDelegate.
func (t *table) NotifyLeave(n *memberlist.Node) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, ok := t.byName[n.Name]; ok {
		delete(t.byName, n.Name)
		t.publish()
	}
}

func (t *table) heard(name string, meta []byte) {
	p, err := decodeMeta(meta)
	if err != nil || !namesPeer(name, p) {
		t.dropped.Inc()
		t.logger.Debug("ignored a gossip node that does not identify itself", "name", name, "error", err)
		return
	}
	if p.ID == t.self.ID {
		if p.Boot > t.self.Boot {
			t.overtaken(p.Boot)
		}
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, known := t.byName[name]; !known && len(t.byName) >= maxPeers {
		t.dropped.Inc()
		return
	}
	t.byName[name] = p
	t.publish()
}

// learned records the map hash that a peer told by RPC, which is fresher than what memberlist carries.
func (t *table) learned(id ring.NodeID, hash uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	p, ok := t.peer(id)
	if !ok || p.MapHash == hash {
		return
	}
	p.MapHash = hash
	t.byName[nodeName(p.ID, p.Boot)] = p
	t.publish()
}

// publish makes live anew. The caller holds mu.
func (t *table) publish() {
	live := make(map[ring.NodeID]Peer, len(t.byName))
	for _, p := range t.byName {
		if old, ok := live[p.ID]; !ok || old.Boot < p.Boot {
			live[p.ID] = p
		}
	}
	t.live.Store(&live)
	wake(t.dirty)
}

// peer is the live start of a member other than this node.
func (t *table) peer(id ring.NodeID) (Peer, bool) {
	p, ok := (*t.live.Load())[id]
	return p, ok
}

// all lists the live peers by ID.
func (t *table) all() []Peer {
	live := *t.live.Load()
	list := make([]Peer, 0, len(live))
	for _, p := range live {
		list = append(list, p)
	}
	slices.SortFunc(list, func(a, b Peer) int { return bytes.Compare(a.ID[:], b.ID[:]) })
	return list
}

// wake leaves a token in a channel of capacity 1.
func wake(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}
