package gossip

import (
	"context"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"

	"starling/gossip/state"
)

const (
	// rejoinDials is how many missing members are dialled at once, and in one round.
	rejoinDials = 4
	// firstRejoinPause is between rounds of a node that has seen no peer yet; it doubles up to RejoinInterval.
	firstRejoinPause = 100 * time.Millisecond
	resolveTimeout   = 2 * time.Second
)

// rejoin dials members that are not alive, for ever: memberlist gives up on a node after half a minute, so a longer
// partition would never heal. A node without any live peer also asks the seeds.
func (g *Gossip) rejoin(ctx context.Context, ml *memberlist.Memberlist) {
	first := firstRejoinPause
	for round := 0; ; round++ {
		missing := g.missing()
		g.dialSome(ctx, ml, missing, round)
		if len(g.table.all()) > 0 || (round+1)*rejoinDials >= len(missing) {
			g.looked.Store(true) // one that is alive has told who else is
		}
		next := jitter(g.opt.RejoinInterval)
		if len(g.table.all()) == 0 {
			g.askSeed(ctx, round)
			if first < g.opt.RejoinInterval {
				next = jitter(first)
				first *= 2
			}
		}
		if !pause(ctx, next) {
			return
		}
	}
}

// missing lists the members that belong to the cluster and are not alive.
func (g *Gossip) missing() []state.Member {
	var list []state.Member
	for _, r := range g.Map().Members {
		if r.State != state.Removed && r.Gossip != "" && r.Gossip != g.self.Gossip && !g.Alive(r.ID) {
			list = append(list, r)
		}
	}
	return list
}

// dialSome dials a window of the missing members that moves on with each round.
func (g *Gossip) dialSome(ctx context.Context, ml *memberlist.Memberlist, missing []state.Member, round int) {
	if len(missing) > rejoinDials {
		start := round * rejoinDials % len(missing)
		missing = slices.Concat(missing[start:], missing[:start])[:rejoinDials]
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	for _, r := range missing {
		wg.Go(func() {
			if err := dial(ctx, ml, r.Gossip); err != nil {
				g.metrics.rejoinFailed.Inc()
				g.logger.Debug("member not reached", "peer", r.Name, "id", r.ID, "gossip", r.Gossip, "error", err)
				return
			}
			g.metrics.rejoinDone.Inc()
		})
	}
}

// dial joins the memberlist node at a host:port. It resolves the host itself: memberlist would ask a DNS server for
// everything it has under the name, over TCP.
func dial(ctx context.Context, ml *memberlist.Memberlist, addr string) error {
	ip, port, err := resolve(ctx, addr)
	if err != nil {
		return err
	}
	_, err = ml.Join([]string{net.JoinHostPort(ip.String(), port)})
	return err
}

// resolve is the first address, IPv4 if there is one, of a host:port.
func resolve(ctx context.Context, addr string) (ip net.IP, port string, err error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, "", err
	}
	if ip := net.ParseIP(host); ip != nil {
		return ip, port, nil
	}
	ctx, cancel := context.WithTimeout(ctx, resolveTimeout)
	defer cancel()
	ips, err := net.DefaultResolver.LookupIP(ctx, "ip", host)
	if err != nil {
		return nil, "", err
	}
	for _, ip := range ips {
		if ip.To4() != nil {
			return ip, port, nil
		}
	}
	if len(ips) == 0 {
		return nil, "", fmt.Errorf("%s has no address", host)
	}
	return ips[0], port, nil
}

// askSeed exchanges maps with one join address, another each round, in the hope that it knows where the others are.
func (g *Gossip) askSeed(ctx context.Context, round int) {
	if len(g.opt.Seeds) == 0 {
		return
	}
	addrs, err := candidates(g.opt.Seeds[round%len(g.opt.Seeds)])
	if err != nil {
		return // cannot be: New refused malformed seeds
	}
	ctx, cancel := context.WithTimeout(ctx, joinTimeout)
	defer cancel()
	for _, addr := range addrs {
		if addr == g.self.RPC {
			continue
		}
		if _, err := g.exchange(ctx, addr); err == nil {
			return
		}
	}
}
