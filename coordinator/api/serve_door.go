package api

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Bounds of the answer to a connection that is one too many.
const (
	maxLingering    = 64
	farewellTime    = 250 * time.Millisecond
	hurriedFarewell = 10 * time.Millisecond
	farewellBytes   = 64 << 10
)

// door is the listener of [Server.Serve]. It accepts connections beyond
// MaxConnections only to turn them away: left alone they would pile up in the
// kernel, where their callers wait for nothing.
type door struct {
	net.Listener
	server *Server
	// lingering has an element for each farewell that takes its time.
	lingering chan struct{}
	farewells sync.WaitGroup
	closeOnce func() error
	shut      atomic.Bool // it was not the listener that failed
	// late are connections that had come when the door was shut. They are
	// Accept's once known is closed.
	late  []net.Conn
	known chan struct{}
}

func newDoor(ln net.Listener, s *Server) *door {
	return &door{Listener: ln, server: s, lingering: make(chan struct{}, maxLingering),
		closeOnce: sync.OnceValue(ln.Close), known: make(chan struct{})}
}

// Close implements [net.Listener]. It may be called again.
func (l *door) Close() error { return l.closeOnce() }

// shutForGood closes the door to end the service. Those who have come are let
// in; to close the listener alone would reset their connections.
func (l *door) shutForGood() error {
	l.shut.Store(true)
	l.late = lastWaiting(l.Listener)
	defer close(l.known)
	return l.Close()
}

// Accept implements [net.Listener].
func (l *door) Accept() (net.Conn, error) {
	for {
		c, err := l.next()
		switch {
		case err != nil:
			return nil, err
		case l.server.connections.Load() < int64(l.server.opts.MaxConnections):
			return &servedConn{Conn: c}, nil
		}
		l.server.metrics.refused[refusedConnections].Inc()
		select {
		case l.lingering <- struct{}{}:
			l.farewells.Go(func() {
				l.server.turnAway(c, farewellTime)
				<-l.lingering
			})
		default:
			l.server.turnAway(c, hurriedFarewell)
		}
	}
}

// next is the next connection, those included that came just in time.
func (l *door) next() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil || !l.shut.Load() {
		return c, err
	}
	if <-l.known; len(l.late) == 0 {
		return nil, err
	}
	c, l.late = l.late[0], l.late[1:]
	return c, nil
}

// turnAway answers 503 and closes c. Within the time given it reads what the
// caller sends, since a reset would destroy the answer.
func (s *Server) turnAway(c net.Conn, within time.Duration) {
	p := refusal(&kindOverloaded, opAdmin, fmt.Sprintf("This node has %d connections, as many as it may. Nothing happened.", s.opts.MaxConnections))
	_ = c.SetDeadline(time.Now().Add(within))
	if _, err := c.Write(p.raw(http.MethodGet)); err == nil {
		if half, ok := c.(interface{ CloseWrite() error }); ok && half.CloseWrite() == nil {
			_, _ = io.CopyN(io.Discard, c, farewellBytes)
		}
	}
	_ = c.Close()
}
