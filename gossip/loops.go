package gossip

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"

	"starling/ring"
)

// Pauses of Run's loops.
const (
	// publishPause is between two announcements of this node's map hash.
	publishPause = 50 * time.Millisecond
	// The random pause before a peer's map is fetched because its hash differs: the peer may be about to hear what
	// this node knows, and both would ask each other.
	minDiffPause, maxDiffPause = 20 * time.Millisecond, 100 * time.Millisecond
	// The random pause before a map that was merged, not changed here, is passed on to peers that have not announced
	// the same hash by then.
	minSpreadPause, maxSpreadPause = 200 * time.Millisecond, 500 * time.Millisecond
	// farewellTimeout bounds telling others that this node removed itself.
	farewellTimeout = 2 * time.Second
)

// spreadPeers is how many random peers a change of the map is given to. They announce its hash, and the rest ask.
const spreadPeers = 8

// watch asks peers for their maps whose hash differs from this node's, and any that could vouch for it while none has;
// it logs and counts who comes and goes.
func (g *Gossip) watch(ctx context.Context) {
	before := map[ring.NodeID]Peer{}
	for {
		select {
		case <-ctx.Done():
			return
		case <-g.table.dirty:
		}
		now := *g.table.live.Load()
		g.logLiveness(before, now)
		before = now
		for id, p := range now {
			switch _, elder := g.opt.Map.Member(id); {
			case elder && !g.isVouched():
				g.sync.ask(id, always, between(minDiffPause, maxDiffPause))
			case p.MapHash != g.MapHash():
				g.sync.ask(id, ifDifferent, between(minDiffPause, maxDiffPause))
			}
		}
	}
}

// logLiveness logs and counts who came and went.
func (g *Gossip) logLiveness(before, now map[ring.NodeID]Peer) {
	for id, p := range now {
		if old, ok := before[id]; !ok || old.Boot != p.Boot {
			g.metrics.cameAlive.Inc()
			g.logger.Info("peer is alive", "peer", g.name(id), "id", id, "boot", p.Boot, "rpc", p.RPC)
		}
	}
	for id := range before {
		if _, ok := now[id]; !ok {
			g.metrics.wentDown.Inc()
			g.logger.Info("peer is down or has left", "peer", g.name(id), "id", id)
		}
	}
}

func (g *Gossip) name(id ring.NodeID) string {
	if r, ok := g.Map().Member(id); ok {
		return r.Name
	}
	return id.String() // its record is on its way
}

// spread gives a changed map to some peers: at once if the change was made here, else after they had time to ask.
func (g *Gossip) spread(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-g.toSpread:
		}
		here := g.changedHere.Swap(false)
		peers := g.table.all()
		rand.Shuffle(len(peers), func(i, j int) { peers[i], peers[j] = peers[j], peers[i] })
		for _, p := range peers[:min(len(peers), spreadPeers)] {
			pause := time.Duration(0)
			if !here {
				pause = between(minSpreadPause, maxSpreadPause)
			}
			g.sync.ask(p.ID, ifDifferent, pause)
		}
	}
}

// announce puts the map's hash into memberlist's meta data whenever it changed.
func (g *Gossip) announce(ctx context.Context, ml *memberlist.Memberlist) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-g.toAnnounce:
		}
		// UpdateNode queues the broadcast at once and then waits for it to go out; nothing here depends on that.
		if err := ml.UpdateNode(time.Millisecond); err != nil {
			g.logger.Debug("announcing the map", "error", err)
		}
		if !pause(ctx, publishPause) {
			return
		}
	}
}

// exchangeAtRandom is the net below: whatever was missed is caught here.
func (g *Gossip) exchangeAtRandom(ctx context.Context) {
	for pause(ctx, jitter(g.opt.ExchangeInterval)) {
		if peers := g.table.all(); len(peers) > 0 {
			g.sync.ask(peers[rand.IntN(len(peers))].ID, always, 0)
		}
	}
}

// farewell tells live peers that this node removed itself; they would never ask again.
func (g *Gossip) farewell(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, farewellTimeout)
	defer cancel()
	var wg sync.WaitGroup
	defer wg.Wait()
	peers := g.table.all()
	rand.Shuffle(len(peers), func(i, j int) { peers[i], peers[j] = peers[j], peers[i] })
	for _, p := range peers[:min(len(peers), spreadPeers)] {
		if p.MapHash == g.MapHash() {
			continue
		}
		wg.Go(func() {
			if _, err := g.opt.Exchanger.Exchange(ctx, p.RPC, g.Map()); err != nil {
				g.logger.Warn("a peer was not told of the removal", "peer", g.name(p.ID), "error", err)
			}
		})
	}
}
