package node

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"time"

	"starling/coordinator/api"
	"starling/gossip/state"
)

// host is what the API shows of this process and its ways to the others.
type host struct{ n *Node }

// Report implements [api.Host]. No setting is a secret: those of the cluster are
// in its map, which is not shown.
func (h host) Report() api.HostReport {
	r := api.HostReport{
		Version: h.n.version, Revision: revision(), Go: runtime.Version(), OS: runtime.GOOS, Arch: runtime.GOARCH, CPUs: runtime.GOMAXPROCS(0), Started: h.n.started,
	}
	for _, s := range h.n.cfg.Settings() {
		r.Settings = append(r.Settings, api.HostSetting{Name: s.Name, Value: s.Value, Source: s.Source})
	}
	return r
}

// Reach implements [api.Host]. All members are tried at once, which is as many
// packets and requests.
func (h host) Reach(ctx context.Context) []api.Reachability {
	g := h.n.gossip.Load()
	if g == nil {
		return nil
	}
	var ways []api.Reachability
	for _, m := range g.Map().Members {
		if m.ID != h.n.id && m.State != state.Removed {
			ways = append(ways, api.Reachability{Node: m.ID, Alive: g.Alive(m.ID)})
		}
	}
	var tries sync.WaitGroup
	for i := range ways {
		way := &ways[i]
		tries.Go(func() { way.UDP.Took, way.UDP.Err = g.Reach(ctx, way.Node) })
		tries.Go(func() {
			start := time.Now()
			way.RPC.Err = h.n.transport.Ping(ctx, way.Node)
			way.RPC.Took = time.Since(start)
			if errors.Is(way.RPC.Err, context.DeadlineExceeded) {
				way.RPC.Err = errors.New("no answer in time")
			}
		})
	}
	tries.Wait()
	return ways
}
