package gossip

import (
	"context"
	"fmt"
	"time"

	"starling/ring"
)

// Reach sends a live member one packet, as the failure detector does first, and gives the time until it was answered. A
// member that is alive and cannot be reached so is probed through others and over TCP, which costs more and finds a death
// later: UDP does not pass between the two. It takes half a second at most. The error is ErrUnknownMember for who is not
// alive, ErrStopped before Run and after it, and otherwise why there was no answer.
func (g *Gossip) Reach(ctx context.Context, id ring.NodeID) (time.Duration, error) {
	p, ok := g.table.peer(id)
	if !ok {
		return 0, fmt.Errorf("%w: %v is not alive", ErrUnknownMember, id)
	}
	ml := g.list.Load()
	if ml == nil {
		return 0, fmt.Errorf("%w: it does not gossip", ErrStopped)
	}
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	name := nodeName(p.ID, p.Boot)
	for _, n := range ml.Members() {
		if n.Name != name {
			continue
		}
		start := time.Now() // what Ping tells counts from after the packet was sent
		if _, err := ml.Ping(name, packetAddr(n.Address())); err != nil {
			return 0, fmt.Errorf("gossip: %s: %w", n.Address(), err)
		}
		return time.Since(start), nil
	}
	return 0, fmt.Errorf("%w: %v is not alive", ErrUnknownMember, id)
}

// packetAddr is a host:port as an address of packets.
type packetAddr string

// Network implements net.Addr.
func (packetAddr) Network() string { return "udp" }

// String implements net.Addr.
func (a packetAddr) String() string { return string(a) }
