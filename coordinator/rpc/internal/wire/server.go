package wire

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"
)

// idleWorkers is how many goroutines a server keeps for the next requests: a
// goroutine that has run one has a stack of the right size.
const idleWorkers = 64

// ServerOptions are what the layer above puts in.
type ServerOptions struct {
	Options
	// Handle runs one request, in a goroutine of its own, and appends the
	// reply. ctx has the caller's deadline and ends when the caller gives up
	// or its connection does. The payload is the handler's to keep.
	Handle func(ctx context.Context, method uint8, payload []byte, reply *Buffer) error
	// EncodeError appends what a [RemoteError] will carry. err is the
	// handler's or one of this package's.
	EncodeError func(dst []byte, err error) []byte
	// Done hears of every request how it ended; nil: nobody.
	Done func(method uint8, err error)
}

// Server answers calls.
type Server struct {
	opts *Options
	do   ServerOptions

	load    load
	work    chan *task // to a worker that is idle
	idle    atomic.Int64
	stop    chan struct{} // closed when idle workers are to end
	workers sync.WaitGroup

	mu     sync.Mutex
	conns  map[*serverConn]struct{} // those still exchanging prefaces too
	connWG sync.WaitGroup
}

// NewServer checks the options.
func NewServer(o ServerOptions) (*Server, error) {
	opts, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	if o.Handle == nil || o.EncodeError == nil {
		return nil, errors.New("wire: Handle and EncodeError are required")
	}
	if o.Done == nil {
		o.Done = func(uint8, error) {}
	}
	return &Server{
		opts: opts, do: o,
		load: load{maxRequests: int64(opts.MaxServerInFlight), maxBytes: int64(opts.MaxServerInFlightBytes)},
		work: make(chan *task), stop: make(chan struct{}),
		conns: map[*serverConn]struct{}{},
	}, nil
}

// Serve accepts connections until ctx ends; then it closes ln, refuses further
// requests, lets the running ones finish for at most DrainTimeout, and returns
// nil when nothing of it is left. It may be called once.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	listening, cancel := context.WithCancel(ctx)
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		<-listening.Done()
		ln.Close()
	}()
	err := s.accept(listening, ln)
	cancel()
	<-closed
	s.drain()
	close(s.stop)
	s.workers.Wait()
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("wire: accept: %w", err)
}

// accept runs until the listener fails for good. What passes by itself (no
// file descriptor left) is waited out.
func (s *Server) accept(ctx context.Context, ln net.Listener) error {
	const pause = 50 * time.Millisecond
	for {
		nc, err := ln.Accept()
		if err == nil {
			s.open(ctx, nc)
			continue
		}
		if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
			return err
		}
		s.opts.Logger.Warn("rpc: accept failed", "error", err)
		select {
		case <-ctx.Done():
			return err
		case <-time.After(pause):
		}
	}
}

// open starts serving a connection, if there is room.
func (s *Server) open(ctx context.Context, nc net.Conn) {
	c := &serverConn{srv: s, running: map[uint64]*task{}}
	c.init(s.opts, nc, c.failed)
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.conns) >= s.opts.MaxConns {
		s.opts.Metrics.refusedServer.Inc()
		nc.Close()
		return
	}
	s.conns[c] = struct{}{}
	s.connWG.Add(1)
	go func() {
		defer s.connWG.Done()
		c.serve(ctx)
		s.mu.Lock()
		delete(s.conns, c)
		s.mu.Unlock()
	}()
}

// drain says goaway on all connections, waits for the clients to close them
// after their last reply, and closes those that are left.
func (s *Server) drain() {
	conns := s.live()
	for _, c := range conns {
		c.goAway()
	}
	gone := make(chan struct{})
	go func() {
		s.connWG.Wait()
		close(gone)
	}()
	timeout := time.NewTimer(s.opts.DrainTimeout)
	defer timeout.Stop()
	select {
	case <-gone:
	case <-timeout.C:
		for _, c := range conns {
			c.fail(ErrClosed)
		}
		<-gone
	}
}

func (s *Server) live() []*serverConn {
	s.mu.Lock()
	defer s.mu.Unlock()
	conns := make([]*serverConn, 0, len(s.conns))
	for c := range s.conns {
		conns = append(conns, c)
	}
	return conns
}

// admit decides whether a peer may call a method now. Either side may have
// joined since the prefaces: only the peer's claim is of that time.
func (s *Server) admit(peer [16]byte, method uint8) error {
	ours := s.opts.Cluster()
	if err := sameCluster(ours, peer); err != nil {
		return err
	}
	var none [16]byte
	if (ours == none || peer == none) && !s.opts.Unjoined(method) {
		return ErrNotJoined
	}
	return nil
}

// dispatch gives a task to an idle worker or a new one.
func (s *Server) dispatch(t *task) {
	select {
	case s.work <- t:
	default:
		s.workers.Add(1)
		go s.worker(t)
	}
}

func (s *Server) worker(t *task) {
	defer s.workers.Done()
	for {
		t.run()
		if s.idle.Add(1) > idleWorkers {
			s.idle.Add(-1)
			return
		}
		select {
		case t = <-s.work:
			s.idle.Add(-1)
		case <-s.stop:
			return
		}
	}
}

// handle runs the handler and turns its panic into an error.
func (s *Server) handle(ctx context.Context, t *task, reply *Buffer) (err error) {
	defer func() {
		if v := recover(); v != nil {
			s.opts.Logger.Error("rpc: handler panicked", "method", t.method, "panic", v, "stack", string(debug.Stack()))
			err = &PanicError{Value: v}
		}
	}()
	return s.do.Handle(ctx, t.method, t.payload, reply)
}
