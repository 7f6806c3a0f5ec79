package gossip

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"math/rand/v2"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
)

const (
	// streamTimeout bounds dialling and each state exchange of memberlist.
	streamTimeout  = 3 * time.Second
	gossipInterval = 100 * time.Millisecond
	// bindTries: TCP and UDP need the same free port, which a free TCP port need not be.
	bindTries = 10
)

// memberlistConfig is memberlist's for a LAN: a dead node is detected in 6 to 8 seconds. DeadNodeReclaimTime stays 0,
// since no two starts of a node share a name.
func (g *Gossip) memberlistConfig(ctx context.Context) *memberlist.Config {
	c := memberlist.DefaultLANConfig()
	c.Name = nodeName(g.self.ID, g.self.Boot)
	c.Label = clusterLabel(g.opt.Map.Settings.Cluster)
	c.Transport = g.transport
	c.TCPTimeout = streamTimeout
	c.GossipInterval = gossipInterval
	// The few small messages are not worth the CPU.
	c.EnableCompression = false
	c.Delegate = delegate{g}
	c.Events = g.table
	c.Logger = log.New(logWriter{g.logger}, "", 0)
	if ip, port, err := resolve(ctx, g.self.Gossip); err == nil {
		c.AdvertiseAddr = ip.String()
		c.AdvertisePort, _ = strconv.Atoi(port) // bind has parsed it
	} else {
		g.logger.Warn("the advertised gossip address does not resolve, advertising the bound one", "error", err)
	}
	return c
}

// delegate tells memberlist this node's meta data, and does without all else that memberlist offers to carry.
type delegate struct{ g *Gossip }

// NodeMeta implements memberlist.Delegate.
func (d delegate) NodeMeta(int) []byte {
	cur := d.g.current.Load()
	self, _ := cur.Member(d.g.self.ID)
	return Peer{ID: self.ID, Boot: self.Boot, RPC: self.RPC, HTTP: self.HTTP, MapHash: cur.hash}.encode(rand.IntN(maxPad + 1))
}

// NotifyMsg implements memberlist.Delegate.
func (delegate) NotifyMsg([]byte) {}

// GetBroadcasts implements memberlist.Delegate.
func (delegate) GetBroadcasts(int, int) [][]byte { return nil }

// LocalState implements memberlist.Delegate.
func (delegate) LocalState(bool) []byte { return nil }

// MergeRemoteState implements memberlist.Delegate.
func (delegate) MergeRemoteState([]byte, bool) {}

// transport is memberlist's network, or the one of the options, with dials that end when this node stops.
type transport struct {
	memberlist.Transport
	advertised string // host:port
	ctx        context.Context
	cancel     context.CancelFunc
}

// bind listens on the gossip address and finds out what to advertise.
func bind(o Options) (*transport, error) {
	t := &transport{Transport: o.Transport, advertised: o.Self.Gossip}
	t.ctx, t.cancel = context.WithCancel(context.Background())
	if o.Transport != nil {
		return t, nil
	}
	ip, port, err := bindAddr(o.Bind)
	if err != nil {
		return nil, err
	}
	c := &memberlist.NetTransportConfig{BindAddrs: []string{ip}, BindPort: port, Logger: log.New(logWriter{o.Logger}, "", 0)}
	var nt *memberlist.NetTransport
	for range bindTries {
		if nt, err = memberlist.NewNetTransport(c); err == nil || port != 0 {
			break
		}
	}
	if err != nil {
		return nil, fmt.Errorf("gossip: listen on %s: %w", o.Bind, err)
	}
	t.Transport = nt
	if t.advertised, err = advertise(nt, o.Self.Gossip); err != nil {
		_ = t.close()
		return nil, err
	}
	return t, nil
}

// bindAddr makes of a host:port what memberlist wants: an IP address, 0.0.0.0 for any.
func bindAddr(bind string) (ip string, port int, err error) {
	host, service, err := net.SplitHostPort(bind)
	if err != nil {
		return "", 0, fmt.Errorf("%w: Bind: %w", ErrOptions, err)
	}
	number, err := strconv.ParseUint(service, 10, 16)
	if err != nil {
		return "", 0, fmt.Errorf("%w: Bind: port %q", ErrOptions, service)
	}
	if host == "" {
		return "0.0.0.0", int(number), nil
	}
	resolved, _, err := resolve(context.Background(), bind)
	if err != nil {
		return "", 0, fmt.Errorf("%w: Bind: %w", ErrOptions, err)
	}
	return resolved.String(), int(number), nil
}

// advertise completes the address to advertise with what was bound.
func advertise(nt *memberlist.NetTransport, want string) (string, error) {
	var host, port string
	if want != "" {
		var err error
		if host, port, err = net.SplitHostPort(want); err != nil {
			return "", fmt.Errorf("%w: Self.Gossip: %w", ErrOptions, err)
		}
		if _, err := strconv.ParseUint(port, 10, 16); err != nil {
			return "", fmt.Errorf("%w: Self.Gossip: port %q", ErrOptions, port)
		}
	}
	if host == "" || unspecified(host) {
		ip, _, err := nt.FinalAdvertiseAddr("", 0)
		if err == nil && ip.IsUnspecified() {
			err = errors.New("bound to any address")
		}
		if err != nil {
			return "", fmt.Errorf("%w: set the gossip address to advertise: %w", ErrOptions, err)
		}
		host = ip.String()
	}
	if port == "" || port == "0" {
		port = strconv.Itoa(nt.GetAutoBindPort())
	}
	return net.JoinHostPort(host, port), nil
}

func unspecified(host string) bool {
	ip := net.ParseIP(host)
	return ip != nil && ip.IsUnspecified()
}

// close ends a transport that no memberlist reads from.
func (t *transport) close() error {
	t.cancel()
	closed := make(chan struct{})
	var wg sync.WaitGroup
	defer wg.Wait()
	defer close(closed)
	wg.Go(func() {
		// Its listeners may wait for a reader.
		for {
			select {
			case <-t.PacketCh():
			case conn := <-t.StreamCh():
				_ = conn.Close()
			case <-closed:
				return
			}
		}
	})
	return t.Shutdown()
}

// WriteToAddress implements memberlist.NodeAwareTransport.
func (t *transport) WriteToAddress(b []byte, a memberlist.Address) (time.Time, error) {
	return t.WriteTo(b, a.Addr)
}

// DialAddressTimeout implements memberlist.NodeAwareTransport. The connection is closed when this node stops.
func (t *transport) DialAddressTimeout(a memberlist.Address, timeout time.Duration) (net.Conn, error) {
	return t.DialTimeout(a.Addr, timeout)
}

// DialTimeout implements memberlist.Transport.
func (t *transport) DialTimeout(addr string, timeout time.Duration) (net.Conn, error) {
	var conn net.Conn
	var err error
	if _, ok := t.Transport.(*memberlist.NetTransport); ok {
		conn, err = (&net.Dialer{Timeout: timeout}).DialContext(t.ctx, "tcp", addr)
	} else {
		conn, err = t.Transport.DialTimeout(addr, timeout)
	}
	if err != nil {
		return nil, err
	}
	return &boundConn{Conn: conn, release: context.AfterFunc(t.ctx, func() { _ = conn.Close() })}, nil
}

// boundConn is a connection that a context closes.
type boundConn struct {
	net.Conn
	release func() bool
}

// Close implements net.Conn.
func (c *boundConn) Close() error {
	c.release()
	return c.Conn.Close()
}

// logWriter turns memberlist's lines into log records. What memberlist calls an error is a peer not reached; it is not
// for the operator to act on.
type logWriter struct{ logger *slog.Logger }

var memberlistLevels = map[string]slog.Level{
	"[ERR]": slog.LevelInfo, "[WARN]": slog.LevelInfo, "[INFO]": slog.LevelDebug, "[DEBUG]": slog.LevelDebug,
}

// Write implements io.Writer; each call is one line.
func (w logWriter) Write(line []byte) (int, error) {
	text := strings.TrimSpace(string(line))
	level := slog.LevelInfo
	if tag, rest, ok := strings.Cut(text, " "); ok {
		if l, known := memberlistLevels[tag]; known {
			level, text = l, strings.TrimPrefix(rest, "memberlist: ")
		}
	}
	w.logger.Log(context.Background(), level, "memberlist: "+text)
	return len(line), nil
}
