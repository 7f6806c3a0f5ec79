package node

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"starling/antientropy"
	"starling/coordinator/rpc"
	"starling/gossip"
	"starling/gossip/state"
	"starling/gossip/topology"
	"starling/ring"
	"starling/store/bucket"
)

// mapRecord is where the store keeps the cluster map.
const mapRecord = "cluster-map"

// peerCheckTimeout bounds what a restarted node asks its peers before it
// publishes itself.
const peerCheckTimeout = 2 * time.Second

// enterCluster finds the node's cluster map: on disk, from a peer, or, for the
// first node, by creating it. Then it makes gossip and routes by the map.
func (n *Node) enterCluster(ctx context.Context) (*gossip.Gossip, error) {
	self := n.selfRecord()
	m, err := n.firstMap(ctx, self)
	if err != nil {
		return nil, err
	}
	if err := n.adopt(m); err != nil {
		return nil, err
	}
	g, err := gossip.New(gossip.Options{
		Self: self, Replace: n.replaces, Map: m, Save: n.saveMap, Exchanger: n.transport, Seeds: n.cfg.Join, Bind: n.cfg.Gossip,
		Logger: n.log, Metrics: n.registry,
	})
	if err != nil {
		return nil, err
	}
	n.gossip.Store(g)
	if err := n.apply(); err != nil {
		return nil, errors.Join(err, g.Close())
	}
	n.transport.SetServices(rpc.Services{
		Replica: n.coord, Batch: n.coord, List: n.lister, Diagnosis: n.coord, Source: n.source, Exchange: n.exchange,
		Convergence: n.exchanger, Repair: n.replica, Mend: n, Reap: n.reaped,
	})
	return g, nil
}

// selfRecord is what this start publishes of the node.
func (n *Node) selfRecord() state.Member {
	return state.Member{
		ID: n.id, Name: n.cfg.Name, Zone: n.cfg.Zone, Weight: n.cfg.Weight, Boot: n.store.Identity().Boot,
		HTTP:   withPort(n.cfg.AdvertiseHTTP, n.HTTPAddr()),
		RPC:    withPort(n.cfg.AdvertiseRPC, n.RPCAddr()),
		Gossip: n.cfg.AdvertiseGossip,
	}
}

// withPort replaces port 0 of an advertised address by the one that was bound.
func withPort(advertised, bound string) string {
	host, port, err := net.SplitHostPort(advertised)
	if err != nil || port != "0" {
		return advertised
	}
	_, port, _ = net.SplitHostPort(bound)
	return net.JoinHostPort(host, port)
}

func (n *Node) firstMap(ctx context.Context, self state.Member) (state.Map, error) {
	saved, err := n.loadMap()
	switch {
	case err != nil:
		return state.Map{}, err
	case !saved.Settings.IsZero():
		if err := n.checkSettings(saved.Settings); err != nil {
			return saved, err
		}
		known, err := n.checkPeers(ctx, saved)
		saved.Buckets = known
		return saved, err
	case len(n.cfg.Join) > 0:
		return n.join(ctx, self)
	case n.store.Identity().Cluster != [16]byte{}:
		return state.Map{}, fmt.Errorf("node: %s belongs to cluster %x and has lost its cluster map: start it with --join and a member of that cluster",
			n.cfg.DataDir, n.store.Identity().Cluster)
	default:
		return n.create(self)
	}
}

func (n *Node) create(self state.Member) (state.Map, error) {
	s := state.Settings{
		Partitions: uint32(n.cfg.Partitions), Replicas: uint32(n.cfg.Replicas), HashVersion: state.HashVersion,
	}
	// crypto/rand.Read never fails: it ends the process instead.
	_, _ = rand.Read(s.Cluster[:])
	_, _ = rand.Read(s.Secret[:])
	m, err := state.NewCluster(s, self)
	if err == nil {
		n.log.Info("created a cluster", "settings", s.String())
	}
	return m, err
}

func (n *Node) join(ctx context.Context, self state.Member) (state.Map, error) {
	o := gossip.JoinOptions{Addrs: n.cfg.Join, Fetch: n.transport, ID: n.id, Name: n.cfg.Name, RPC: self.RPC, Replace: n.cfg.Replace,
		Cluster: n.store.Identity().Cluster, Logger: n.log}
	if n.cfg.IsSet("partitions") {
		o.Partitions = n.cfg.Partitions
	}
	if n.cfg.IsSet("replicas") {
		o.Replicas = n.cfg.Replicas
	}
	m, err := gossip.Join(ctx, o)
	if err == nil && n.cfg.Replace != "" {
		err = n.toReplace(ctx, m, self)
	}
	return m, err
}

// toReplace finds the member that this node is to replace, and refuses one that
// still answers, or that has the last complete copy of a partition.
func (n *Node) toReplace(ctx context.Context, m state.Map, self state.Member) error {
	dead, err := m.Find(n.cfg.Replace)
	if err != nil {
		return err
	}
	if dead.Heir == n.id {
		return nil
	}
	n.transport.SetCluster(m.Settings.Cluster)
	ctx, cancel := context.WithTimeout(ctx, peerCheckTimeout)
	defer cancel()
	if dead.RPC != self.RPC { // else it is this process that would answer
		if _, err := n.transport.Exchange(ctx, dead.RPC, state.Map{Settings: m.Settings}); err == nil {
			return fmt.Errorf("node: %s, which this node is to replace, answers at %s: stop it for good first, or have it leave", dead.Name, dead.RPC)
		}
	}
	verdict, err := topology.Removal(m, dead.ID, func(id ring.NodeID) bool { return id != dead.ID })
	if err != nil {
		return err
	}
	if len(verdict.Lost) > 0 {
		return fmt.Errorf("node: %s has the last complete copy of %d partitions: bring it back, or accept the loss with `starling cluster remove %s --force` and start this node without replacing it",
			dead.Name, len(verdict.Lost), dead.Name)
	}
	n.replaces = dead.ID
	return nil
}

// checkSettings refuses a start that asks for other settings than those the
// cluster was created with.
func (n *Node) checkSettings(s state.Settings) error {
	for _, c := range []struct {
		name       string
		have, want int
	}{
		{"replicas", int(s.Replicas), n.cfg.Replicas},
		{"partitions", int(s.Partitions), n.cfg.Partitions},
	} {
		if n.cfg.IsSet(c.name) && c.have != c.want {
			return fmt.Errorf("node: the cluster of %s was created with %s=%d, and this start asks for %d: it cannot be changed later, so set %s to %d or leave it out",
				n.cfg.DataDir, c.name, c.have, c.want, c.name, c.have)
		}
	}
	return nil
}

// checkPeers asks everybody that the saved map or the configuration knows,
// before this start publishes anything, and refuses the start where
//
//   - a join address answers for another cluster than the directory's;
//   - a peer has seen this node start as often as this start counts, or more
//     often: then another copy of the directory has lived in between, and
//     this one lacks what that one acknowledged.
//
// Peers that do not answer are no matter for the start: gossip goes on asking.
// But the actors of the last stop may be used again only if all members
// answered; see keepActors.
//
// It returns what is known of buckets, here and by those who answered: a bucket
// that was dropped while this node was down is not served by it, unless it could
// reach nobody who knows.
func (n *Node) checkPeers(ctx context.Context, saved state.Map) (known bucket.Registry, err error) {
	ctx, cancel := context.WithTimeout(ctx, peerCheckTimeout)
	defer cancel()
	n.transport.SetCluster(saved.Settings.Cluster)
	addrs := n.cfg.Join
	for _, m := range saved.Members {
		if m.ID != n.id && m.State != state.Removed && !slices.Contains(addrs, m.RPC) {
			addrs = append(addrs[:len(addrs):len(addrs)], m.RPC)
		}
	}
	type answer struct {
		known bucket.Registry
		heard bool
		err   error
	}
	answers := make(chan answer, len(addrs))
	for _, addr := range addrs {
		go func() {
			known, heard, err := n.checkPeer(ctx, addr, saved.Settings)
			answers <- answer{known, heard, err}
		}()
	}
	var errs []error
	all := true
	known = saved.Buckets
	for range addrs {
		a := <-answers
		all = all && a.heard
		known = bucket.Merge(known, a.known)
		errs = append(errs, a.err)
	}
	n.allHeard = all && len(addrs) > 0
	return known, errors.Join(errs...)
}

func (n *Node) checkPeer(ctx context.Context, addr string, s state.Settings) (known bucket.Registry, heard bool, err error) {
	theirs, err := n.transport.Exchange(ctx, addr, state.Map{Settings: s})
	configured := slices.Contains(n.cfg.Join, addr)
	switch {
	case errors.Is(err, state.ErrForeignCluster) && configured:
		return nil, false, fmt.Errorf("node: %s belongs to cluster %x, but the join address %s answers for another one: give it a member of its own cluster, or start with an empty data directory to join that one (%w)",
			n.cfg.DataDir, s.Cluster, addr, err)
	case err != nil:
		n.log.Debug("a peer did not answer before the start", "addr", addr, "err", err)
		return nil, false, nil
	}
	if err := gossip.Removed(theirs, n.id); err != nil {
		return nil, true, err
	}
	boot := n.store.Identity().Boot
	if self, ok := theirs.Member(n.id); ok && self.Boot >= boot {
		return nil, true, fmt.Errorf("%w: %s counts %d starts, and %s has seen start %d of this node, so another copy of the directory has been in use since: start with an empty data directory as a new member, under another name",
			gossip.ErrLostTime, n.cfg.DataDir, boot, addr, self.Boot)
	}
	return theirs.Buckets, true, nil
}

// keepActors lets the store go on with the actors of its last clean stop once
// two things are known: that no member had seen this start before it was
// published (checkPeers), and that a member has seen it since. Then every
// other copy of the directory that is started is found out, and no copy that
// was started before has used them. Otherwise every partition takes a new
// actor: that is always safe, and costs an entry in the vectors.
func (n *Node) keepActors(ctx context.Context) error {
	if !n.allHeard {
		return nil
	}
	select {
	case <-n.gossip.Load().Vouched():
		n.store.Vouch()
		n.actorsKept.Store(true)
		n.log.Debug("the actors of the last clean stop may be used again")
	case <-ctx.Done():
	}
	return nil
}

// adopt makes the directory a part of the map's cluster. The map is saved
// first: a directory with a cluster and no map could not start again unaided.
func (n *Node) adopt(m state.Map) error {
	if err := n.saveMap(m); err != nil {
		return err
	}
	if n.store.Identity().Cluster == [16]byte{} {
		if err := n.store.SetCluster(m.Settings.Cluster); err != nil {
			return err
		}
	}
	if have := n.store.Identity().Cluster; have != m.Settings.Cluster {
		return fmt.Errorf("node: %s belongs to cluster %x, its map is of cluster %x: restore the directory or start with an empty one",
			n.cfg.DataDir, have, m.Settings.Cluster)
	}
	n.transport.SetCluster(m.Settings.Cluster)
	return nil
}

func (n *Node) loadMap() (state.Map, error) {
	b, err := n.store.LoadMeta(mapRecord)
	if err != nil || b == nil {
		return state.Map{}, err
	}
	m, err := state.Decode(b)
	if err != nil {
		return m, fmt.Errorf("node: the cluster map in %s: %w", n.cfg.DataDir, err)
	}
	return m, nil
}

func (n *Node) saveMap(m state.Map) error { return n.store.SaveMeta(mapRecord, m.Append(nil)) }

// apply routes by the map as it is now. When it returns, the coordinator
// obeys a map at least as new as the one that was current when it was called.
func (n *Node) apply() error {
	n.applyMu.Lock()
	defer n.applyMu.Unlock()
	return n.applyLocked()
}

// applyLocked is apply for those who hold applyMu.
func (n *Node) applyLocked() error {
	m := n.gossip.Load().Map()
	if self, _ := m.Member(n.id); self.State == state.Removed {
		// This node is about to stop. Until it has, its requests are to be
		// refused by the others, as those of one that does not know.
		return nil
	}
	v, err := m.ViewFrom(n.coord.View())
	if err != nil {
		return fmt.Errorf("node: placing the members: %w", err)
	}
	if !slices.Equal(n.coord.Buckets(), m.Buckets) {
		n.coord.SetBuckets(m.Buckets)
		n.sweeper.Kick()
	}
	if n.coord.View() != v {
		n.coord.SetView(v)
		n.filler.Kick()
		n.exchanger.Kick()
	}
	return nil
}

// followMap applies every change of the map.
func (n *Node) followMap(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-n.gossip.Load().Changes():
			if err := n.apply(); err != nil {
				return err
			}
		}
	}
}

// exchange answers a peer's map exchange: with the merged map, after it is
// routed by here.
func (n *Node) exchange(_ context.Context, theirs state.Map) (state.Map, error) {
	merged, err := n.gossip.Load().Merge(theirs)
	if err != nil {
		return merged, err
	}
	return merged, n.apply()
}

// becomeActive ends the node's joining once nothing is pending.
func (n *Node) becomeActive() {
	g := n.gossip.Load()
	if self, _ := g.Map().Member(n.id); self.State != state.Joining {
		return
	}
	if err := g.Update(func(m *state.Member) { m.State = state.Active }); err != nil {
		n.log.Warn("could not become active, will try again", "err", err)
		return
	}
	n.log.Info("the node holds all that it owns and is active")
}

// members is what the coordinator and the filler need of gossip.
type members struct{ n *Node }

// Alive is false where the failure detector has looked for a member and not
// found it. Who was never looked for may well be there.
func (m members) Alive(id ring.NodeID) bool {
	g := m.n.gossip.Load()
	return g != nil && !g.Down(id)
}

// Refresh exchanges maps and routes by the result.
func (m members) Refresh(ctx context.Context, id ring.NodeID) error {
	if err := m.n.gossip.Load().Refresh(ctx, id); err != nil {
		return err
	}
	return m.n.apply()
}

// SetSettled implements [antientropy.Membership]. No view comes into force
// between the look at the stamps and the change of the bits.
func (m members) SetSettled(claims []antientropy.Claim, settled bool) (done []antientropy.Claim, err error) {
	m.n.applyMu.Lock()
	defer m.n.applyMu.Unlock()
	v := m.n.coord.View()
	var partitions []int
	for _, c := range claims {
		if p := int(c.Partition); v.Placement(p).Stamp == c.Stamp {
			done, partitions = append(done, c), append(partitions, p)
		}
	}
	if len(done) == 0 {
		return nil, nil
	}
	if err := m.n.setBits(partitions, settled); err != nil {
		return nil, err
	}
	return done, m.n.applyLocked()
}

// unsettle clears this node's bits, whatever the placement is.
func (n *Node) unsettle(partitions ...int) error {
	if err := n.setBits(partitions, false); err != nil {
		return err
	}
	return n.apply()
}

func (n *Node) setBits(partitions []int, settled bool) error {
	return n.gossip.Load().Update(func(self *state.Member) {
		if settled {
			self.Settled = self.Settled.With(partitions...)
		} else {
			self.Settled = self.Settled.Without(partitions...)
		}
	})
}

// cluster is what the HTTP API shows of gossip.
type cluster struct{ n *Node }

// Map is the cluster map, zero before the node found its cluster.
func (c cluster) Map() state.Map {
	if g := c.n.gossip.Load(); g != nil {
		return g.Map()
	}
	return state.Map{}
}

// View is the placement in force.
func (c cluster) View() *ring.View { return c.n.coord.View() }

// Alive says whether the failure detector sees a member.
func (c cluster) Alive(id ring.NodeID) bool {
	g := c.n.gossip.Load()
	return g != nil && g.Alive(id)
}
