package gossip

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"starling/gossip/state"
)

// network is the wire of a test: packets and streams for memberlist, and the exchange of maps that RPC would carry.
// Every node is a host 10.0.0.n with gossip on port 4702 and RPC on 4701.
type network struct {
	mu     sync.Mutex
	rng    *rand.Rand
	loss   float64 // of packets
	hosts  map[string]*host
	side   map[string]int // hosts of different sides do not reach each other
	rpc    map[string]*Gossip
	hold   map[string]func() // by host: called before it gets the answer to an exchange
	visits int               // exchanges asked for
	mute   bool              // memberlist reaches nobody
	nodes  []*node
}

// newNetwork is a network whose nodes are stopped when the test ends. It is then that memberlist's last goroutines need
// some (virtual) time to end in.
func newNetwork(t *testing.T) *network {
	n := &network{rng: rand.New(rand.NewPCG(1, 2)), hosts: map[string]*host{}, side: map[string]int{}, rpc: map[string]*Gossip{}}
	t.Cleanup(func() {
		for _, d := range n.nodes {
			if d.stop != nil {
				_ = d.leave()
			}
		}
		time.Sleep(10 * time.Second)
	})
	return n
}

var errUnreachable = errors.New("host unreachable")

func hostOf(addr string) string {
	h, _, _ := net.SplitHostPort(addr)
	return h
}

// split puts hosts on another side than the rest; split() heals.
func (n *network) split(hosts ...string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.side = map[string]int{}
	for _, h := range hosts {
		n.side[h] = 1
	}
}

func (n *network) setLoss(p float64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.loss = p
}

func (n *network) setMute(on bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.mute = on
}

func (n *network) serve(addr string, g *Gossip) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if g == nil {
		delete(n.rpc, addr)
		return
	}
	n.rpc[addr] = g
}

func (n *network) served() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.visits
}

// host is one node's memberlist transport.
type host struct {
	net     *network
	addr    string // ip:4702
	packets chan *Packet
	streams chan net.Conn
}

func (n *network) plug(addr string) *host {
	h := &host{net: n, addr: addr, packets: make(chan *Packet, 1024), streams: make(chan net.Conn, 64)}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.hosts[addr] = h
	return h
}

// unplug is a cut power cord.
func (h *host) unplug() {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	if h.net.hosts[h.addr] == h {
		delete(h.net.hosts, h.addr)
	}
}

// peer is the host at addr if h reaches it.
func (h *host) peer(addr string, lossy bool) (*host, error) {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	p, ok := h.net.hosts[addr]
	switch {
	case !ok || h.net.hosts[h.addr] != h:
		return nil, errUnreachable
	case h.net.mute, h.net.side[hostOf(addr)] != h.net.side[hostOf(h.addr)], lossy && h.net.rng.Float64() < h.net.loss:
		return nil, os.ErrDeadlineExceeded
	}
	return p, nil
}

func (h *host) FinalAdvertiseAddr(ip string, port int) (net.IP, int, error) {
	return net.ParseIP(ip), port, nil
}

func (h *host) WriteTo(b []byte, addr string) (time.Time, error) {
	if p, err := h.peer(addr, true); err == nil {
		from, _ := net.ResolveUDPAddr("udp", h.addr)
		select {
		case p.packets <- &Packet{Buf: append([]byte(nil), b...), From: from, Timestamp: time.Now()}:
		default:
		}
	}
	return time.Now(), nil
}

func (h *host) PacketCh() <-chan *Packet  { return h.packets }
func (h *host) StreamCh() <-chan net.Conn { return h.streams }

func (h *host) DialTimeout(addr string, timeout time.Duration) (net.Conn, error) {
	p, err := h.peer(addr, false)
	if err != nil {
		if errors.Is(err, os.ErrDeadlineExceeded) {
			time.Sleep(timeout)
		}
		return nil, err
	}
	mine, theirs := net.Pipe()
	select {
	case p.streams <- theirs:
		return mine, nil
	default:
		return nil, errUnreachable
	}
}

func (h *host) Shutdown() error {
	h.unplug()
	for {
		select {
		case c := <-h.streams:
			_ = c.Close()
		default:
			return nil
		}
	}
}

// exchanger is a host's RPC client.
type exchanger struct {
	net  *network
	from string // host
}

func (x exchanger) Exchange(ctx context.Context, addr string, mine state.Map) (state.Map, error) {
	if !pause(ctx, time.Millisecond) {
		return state.Map{}, context.Cause(ctx)
	}
	x.net.mu.Lock()
	g := x.net.rpc[addr]
	cut := x.net.side[hostOf(addr)] != x.net.side[x.from]
	x.net.visits++
	x.net.mu.Unlock()
	switch {
	case cut:
		<-ctx.Done()
		return state.Map{}, context.Cause(ctx)
	case g == nil:
		return state.Map{}, errUnreachable
	}
	sent, err := state.Decode(mine.Append(nil))
	if err != nil {
		return state.Map{}, err
	}
	m, err := g.Merge(sent)
	x.net.mu.Lock()
	hold := x.net.hold[x.from]
	x.net.mu.Unlock()
	if hold != nil {
		hold()
	}
	if err != nil {
		return state.Map{}, err
	}
	return state.Decode(m.Append(nil))
}
