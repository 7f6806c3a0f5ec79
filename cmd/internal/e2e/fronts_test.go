package e2e

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
)

// fronts stand before the gossip ports of nodes, which advertise them in place
// of their own. So one node can be cut off from gossip, while RPC and HTTP go on.
type fronts struct {
	streams []net.Listener   // by node, from n1 on
	packets []net.PacketConn // at the same addresses
	port    func(node int) string
	serving sync.WaitGroup

	// far is the node that is cut off; 0: none. While one is, packets from and to
	// it are dropped, and no stream is passed on, because nothing tells whose it
	// is: the others do with packets, once they have found each other.
	far  atomic.Int64
	mu   sync.Mutex
	open map[net.Conn]bool // the ends of streams
}

// newFronts listens for n nodes.
func newFronts(t *testing.T, n int) *fronts {
	t.Helper()
	f := &fronts{open: make(map[net.Conn]bool)}
	t.Cleanup(f.close)
	for range n {
		streams, packets := listenBoth(t)
		f.streams, f.packets = append(f.streams, streams), append(f.packets, packets)
	}
	return f
}

// listenBoth listens for streams and packets at one address.
func listenBoth(t *testing.T) (net.Listener, net.PacketConn) {
	t.Helper()
	const tries = 10 // a port that is free for streams need not be so for packets
	for range tries {
		streams, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		packets, err := net.ListenPacket("udp", streams.Addr().String())
		if err == nil {
			return streams, packets
		}
		_ = streams.Close()
	}
	t.Fatal("no port is free for streams and packets")
	return nil, nil
}

// setting makes node i advertise its front.
func (f *fronts) setting(i int) string {
	return "STARLING_ADVERTISE_GOSSIP=" + f.streams[i-1].Addr().String()
}

// serve passes on what comes for the nodes of a cluster from now on.
func (f *fronts) serve(c *cluster) {
	f.port = func(node int) string { return fmt.Sprintf("127.0.0.1:%d", c.base+10*node+2) }
	for k := range f.streams {
		f.serving.Go(func() { f.passStreams(f.streams[k], f.port(k+1)) })
		f.serving.Go(func() { f.passPackets(f.packets[k], k+1) })
	}
}

// cut cuts a node off; 0: none any more. Streams that are under way end.
func (f *fronts) cut(far int) {
	f.far.Store(int64(far))
	f.mu.Lock()
	defer f.mu.Unlock()
	for end := range f.open {
		_ = end.Close()
	}
}

// close ends everything and waits for it.
func (f *fronts) close() {
	for k := range f.streams {
		_, _ = f.streams[k].Close(), f.packets[k].Close()
	}
	f.cut(0)
	f.serving.Wait()
}

func (f *fronts) passStreams(l net.Listener, to string) {
	for {
		from, err := l.Accept()
		if err != nil {
			return
		}
		f.serving.Go(func() {
			defer func() { _ = from.Close() }()
			if f.far.Load() != 0 {
				return
			}
			out, err := net.Dial("tcp", to)
			if err != nil {
				return
			}
			defer func() { _ = out.Close() }()
			defer f.forget(from, out)
			f.remember(from, out)
			if f.far.Load() == 0 { // a cut that comes now closes them
				join(from, out)
			}
		})
	}
}

func (f *fronts) remember(ends ...net.Conn) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, end := range ends {
		f.open[end] = true
	}
}

func (f *fronts) forget(ends ...net.Conn) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, end := range ends {
		delete(f.open, end)
	}
}

// join passes bytes on in both directions until both have ended.
func join(a, b net.Conn) {
	pass := func(to, from net.Conn) {
		_, _ = io.Copy(to, from)
		_ = to.(*net.TCPConn).CloseWrite()
	}
	var there sync.WaitGroup
	there.Go(func() { pass(b, a) })
	pass(a, b)
	there.Wait()
}

// passPackets passes on what comes for one node. Who sent it is known by its
// address; answers go to the one that the sender advertises.
func (f *fronts) passPackets(packets net.PacketConn, node int) {
	port, buf := f.port(node), make([]byte, 64<<10)
	to, err := net.ResolveUDPAddr("udp", port)
	if err != nil {
		panic(err) // it is an IP address and a number
	}
	for {
		n, from, err := packets.ReadFrom(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		far := int(f.far.Load())
		if err != nil || far != 0 && (far == node || from.String() == f.port(far)) {
			continue
		}
		_, _ = packets.WriteTo(buf[:n], to) // packets may get lost
	}
}
