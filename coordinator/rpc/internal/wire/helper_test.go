package wire

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// fabric is a network of in-memory pipes, so that tests can run in a bubble
// with virtual time.
type fabric struct {
	mu        sync.Mutex
	listeners map[string]*pipeListener
	dials     int
}

type pipeListener struct {
	addr   string
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

type pipeAddr string

// anyone may be at an address.
var anyone [16]byte

func (pipeAddr) Network() string  { return "pipe" }
func (a pipeAddr) String() string { return string(a) }

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *pipeListener) Addr() net.Addr { return pipeAddr(l.addr) }

func (f *fabric) listen(addr string) net.Listener {
	f.mu.Lock()
	defer f.mu.Unlock()
	l := &pipeListener{addr: addr, conns: make(chan net.Conn), closed: make(chan struct{})}
	if f.listeners == nil {
		f.listeners = map[string]*pipeListener{}
	}
	f.listeners[addr] = l
	return l
}

func (f *fabric) dial(ctx context.Context, addr string) (net.Conn, error) {
	f.mu.Lock()
	f.dials++
	l := f.listeners[addr]
	f.mu.Unlock()
	if l == nil {
		return nil, syscall.ECONNREFUSED
	}
	near, far := net.Pipe()
	select {
	case l.conns <- far:
		return near, nil
	case <-l.closed:
		return nil, syscall.ECONNREFUSED
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (f *fabric) dialled() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.dials
}

var testCluster = [16]byte{0xc1}

func testOptions(t testing.TB, f *fabric) Options {
	metrics, err := NewMetrics(nil)
	if err != nil {
		t.Fatal(err)
	}
	return Options{
		Node: [16]byte{0xa0}, Cluster: func() [16]byte { return testCluster },
		Metrics: metrics, Logger: slog.New(slog.DiscardHandler), Dial: f.dial,
	}
}

type handler func(ctx context.Context, method uint8, payload []byte, reply *Buffer) error

func echo(_ context.Context, _ uint8, payload []byte, reply *Buffer) error {
	reply.B = append(reply.B, payload...)
	return nil
}

// rig is one server at the address "srv" and one pool.
type rig struct {
	t      *testing.T
	net    *fabric
	opts   Options // of the pool
	srv    Options
	handle handler
	hang   *hang // stops the server's process; nil: it runs on

	pool   *Pool
	server *Server
	stop   func() // the server
}

// start completes a rig. Within a bubble a goroutine that it leaks fails the
// test.
func (r *rig) start() {
	r.t.Helper()
	r.serve()
	r.newPool()
	r.t.Cleanup(func() {
		r.pool.Close()
		r.stop()
	})
}

func newRig(t *testing.T, h handler) *rig {
	f := &fabric{}
	r := &rig{t: t, net: f, opts: testOptions(t, f), srv: testOptions(t, f), handle: h}
	r.srv.Node = [16]byte{0xb0}
	return r
}

func (r *rig) serve() {
	r.t.Helper()
	ln := r.net.listen("srv")
	if r.hang != nil {
		ln = hangingListener{ln, r.hang}
	}
	r.serveOn(ln)
}

func (r *rig) serveOn(ln net.Listener) {
	r.t.Helper()
	srv, err := NewServer(ServerOptions{
		Options: r.srv, Handle: r.handle,
		EncodeError: func(dst []byte, err error) []byte { return append(dst, err.Error()...) },
	})
	if err != nil {
		r.t.Fatal(err)
	}
	r.server = srv
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := srv.Serve(ctx, ln); err != nil {
			r.t.Errorf("Serve: %v", err)
		}
	}()
	r.stop = func() {
		cancel()
		<-done
	}
}

// hang stands in for a process that is stopped for a while: it accepts and
// reads what its socket has taken already, and does nothing with it.
type hang struct {
	mu   sync.Mutex
	gate chan struct{} // nil: it runs
}

func (h *hang) stop() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.gate = make(chan struct{})
}

func (h *hang) goOn() {
	h.mu.Lock()
	defer h.mu.Unlock()
	close(h.gate)
	h.gate = nil
}

func (h *hang) wait() {
	h.mu.Lock()
	gate := h.gate
	h.mu.Unlock()
	if gate != nil {
		<-gate
	}
}

type hangingListener struct {
	net.Listener
	h *hang
}

func (l hangingListener) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	l.h.wait()
	return hangingConn{nc, l.h}, err
}

type hangingConn struct {
	net.Conn
	h *hang
}

func (c hangingConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.h.wait()
	return n, err
}

func (c hangingConn) Write(p []byte) (int, error) {
	c.h.wait()
	return c.Conn.Write(p)
}

func (r *rig) newPool() {
	r.t.Helper()
	pool, err := NewPool(r.opts)
	if err != nil {
		r.t.Fatal(err)
	}
	r.pool = pool
}

func (r *rig) get(ctx context.Context) *Conn {
	r.t.Helper()
	c, err := r.pool.Get(ctx, "srv", anyone, Interactive)
	if err != nil {
		r.t.Fatalf("Get: %v", err)
	}
	return c
}

func (r *rig) call(ctx context.Context, body string) (string, error) {
	c, err := r.pool.Get(ctx, "srv", anyone, Interactive)
	if err != nil {
		return "", err
	}
	return callConn(ctx, c, body)
}

func callConn(ctx context.Context, c *Conn, body string) (string, error) {
	reply, err := c.Call(ctx, 1, message(body))
	return string(reply), err
}

func message(body string) *Buffer {
	b := NewBuffer(len(body))
	b.B = append(b.B, body...)
	return b
}

// remoteText is the text of an error frame.
func remoteText(t *testing.T, err error) string {
	t.Helper()
	var remote *RemoteError
	if !errors.As(err, &remote) {
		t.Fatalf("got %v, want an error frame", err)
	}
	return string(remote.Payload)
}

func wantErr(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("got %v, want %v", err, want)
	}
}

// certain checks that an error says that nothing happened.
func certain(t *testing.T, err error) {
	t.Helper()
	if err == nil || errors.Is(err, ErrLost) {
		t.Fatalf("got %v, want an error that leaves nothing open", err)
	}
}

// bubble runs a test in virtual time, after which no goroutine may be left.
func bubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, f)
}

// fakePeer answers prefaces at "srv" and leaves the rest to script.
func fakePeer(r *rig, script func(nc net.Conn)) {
	ln := r.net.listen("srv")
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			if _, err := ReadPreface(nc); err == nil {
				nc.Write(AppendPreface(nil, Preface{
					Versions: Versions{MinVersion, MaxVersion}, Cluster: testCluster, Node: r.srv.Node,
				}))
				script(nc)
			}
			nc.Close()
		}
	}()
	r.stop = func() {
		ln.Close()
		<-done
	}
	r.newPool()
	r.t.Cleanup(func() {
		r.pool.Close()
		r.stop()
	})
}

// frames reads frames until the end and hands each to f, if any.
func frames(nc io.Reader, f func(h header, payload []byte)) {
	in := newFrameReader(nc, MaxPayload)
	for {
		h, payload, err := in.next()
		if err != nil {
			return
		}
		if f != nil {
			f(h, payload)
		}
	}
}

func frame(h header, payload string) []byte {
	b := append(make([]byte, HeaderBytes), payload...)
	h.seal(b)
	return b
}

func within(d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), d)
}

func numbered(n int) string { return fmt.Sprintf("message %d", n) }
