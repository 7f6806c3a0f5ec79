package api

import (
	"errors"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// servedConn is a connection of [Server.Serve]. It takes notice of what comes
// in: net/http itself holds a connection for idle until it has read the whole
// header of a request.
type servedConn struct {
	net.Conn
	// moves counts the reads that got something and the changes of the state.
	moves atomic.Uint64
	// resting: no request is being served, and nothing of the next has been
	// read. A byte of it that net/http read while it answered the one before, to
	// see whether the caller is still there, is not noticed until the next one
	// comes; that is soon, and within quietTime.
	resting atomic.Bool

	// What closeQuiet saw last, and since when.
	seen      uint64
	seenSince time.Time
}

// Read implements [net.Conn].
func (c *servedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 {
		c.resting.Store(false)
		c.moves.Add(1)
	}
	return n, err
}

// CloseWrite is what net/http does before it closes a connection over which
// more may come than it reads.
func (c *servedConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}

// quiet says whether nothing came for quietTime, as far as those know who
// asked before.
func (c *servedConn) quiet(now time.Time) bool {
	if moves := c.moves.Load(); moves != c.seen || c.seenSince.IsZero() {
		c.seen, c.seenSince = moves, now
		return false
	}
	return c.resting.Load() && now.Sub(c.seenSince) >= quietTime && !hasInput(c.Conn)
}

// openConns are the connections of a server, MaxConnections at most.
type openConns struct {
	mu  sync.Mutex
	all map[*servedConn]struct{}
}

// note follows the state of a connection.
func (o *openConns) note(nc net.Conn, state http.ConnState) {
	c := nc.(*servedConn)
	switch state {
	case http.StateNew:
		c.resting.Store(true)
		o.mu.Lock()
		defer o.mu.Unlock()
		if o.all == nil {
			o.all = map[*servedConn]struct{}{}
		}
		o.all[c] = struct{}{}
	case http.StateActive:
		c.resting.Store(false)
	case http.StateIdle:
		c.resting.Store(true)
		c.moves.Add(1)
	case http.StateClosed, http.StateHijacked:
		o.mu.Lock()
		defer o.mu.Unlock()
		delete(o.all, c)
	}
}

// closeQuiet closes the connections that are quiet, and says how many are open
// still, those among them.
func (o *openConns) closeQuiet(now time.Time) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	for c := range o.all {
		if c.quiet(now) {
			_ = c.Close() // whoever reads from it hears of that
		}
	}
	return len(o.all)
}
