package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"
)

// Bounds of a connection. A request's header may have 1 MiB; net/http itself
// answers 431 (text, not a problem document) beyond that, and 400 to what is
// no HTTP or no URL at all.
const (
	readHeaderTimeout = 10 * time.Second
	readTimeout       = time.Minute // header and body
	writeSlack        = time.Minute // to send an answer
	idleTimeout       = 2 * time.Minute
	maxHeaderBytes    = http.DefaultMaxHeaderBytes
)

// Serve answers on ln until ctx ends. Then it serves on for DrainDelay, not
// ready any more, closes ln, lets the requests being served finish for
// ShutdownGrace, and cuts what is left. It returns nil after that, and
// otherwise what ended the service.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	srv := &http.Server{
		Handler:           s.router,
		ReadHeaderTimeout: readHeaderTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      readTimeout + s.opts.MaxTimeout + writeSlack,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(s.opts.Logger.Handler(), slog.LevelDebug),
		ConnContext:       withConn,
		ConnState:         s.countConnection,
		// OPTIONS * is no different from OPTIONS of any unknown path.
		DisableGeneralOptionsHandler: true,
	}
	serving, ended := context.WithCancel(context.WithoutCancel(ctx))
	var helpers sync.WaitGroup
	helpers.Go(func() { s.answerOverdue(serving) })
	stopped := make(chan error, 1)
	helpers.Go(func() { stopped <- s.stopAfter(ctx, serving, srv) })
	door := &boundedListener{Listener: ln, server: s, lingering: make(chan struct{}, maxLingering)}
	err := srv.Serve(door)
	if errors.Is(err, http.ErrServerClosed) {
		err = <-stopped // requests end before the helpers do
	} else {
		err = fmt.Errorf("api: %w", err)
	}
	ended()
	helpers.Wait()
	door.farewells.Wait()
	return err
}

// stopAfter ends srv some time after ctx has, or does nothing where serving
// ends first.
func (s *Server) stopAfter(ctx, serving context.Context, srv *http.Server) error {
	select {
	case <-ctx.Done():
	case <-serving.Done():
		return nil
	}
	s.stopping.Store(true)
	delay := time.NewTimer(s.opts.DrainDelay)
	defer delay.Stop()
	select {
	case <-delay.C:
	case <-serving.Done():
		return nil
	}
	return s.shutdown(srv)
}

func (s *Server) shutdown(srv *http.Server) error {
	ctx, cancel := context.WithTimeout(context.Background(), s.opts.ShutdownGrace)
	defer cancel()
	err := srv.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		s.opts.Logger.Warn("api: cutting connections that were still busy at shutdown", "inflight", s.admission.requests.Load())
		err = srv.Close()
	}
	if err != nil {
		return fmt.Errorf("api: shutdown: %w", err)
	}
	return nil
}

// draining reports whether clients are to move away.
func (s *Server) draining() bool { return s.stopping.Load() || s.opts.Draining() }

// sayClose asks for the end of the connection where the node is draining.
func (s *Server) sayClose(h http.Header) {
	if s.draining() {
		h["Connection"] = closeConnection
	}
}

func (s *Server) countConnection(_ net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		s.connections.Add(1)
	case http.StateClosed, http.StateHijacked:
		s.connections.Add(-1)
	}
}

// Bounds of the answer to a connection that is one too many.
const (
	maxLingering    = 64
	farewellTime    = 250 * time.Millisecond
	hurriedFarewell = 10 * time.Millisecond
	farewellBytes   = 64 << 10
)

// boundedListener accepts connections beyond MaxConnections only to turn them
// away: left alone they would pile up in the kernel, where their callers wait
// for nothing.
type boundedListener struct {
	net.Listener
	server *Server
	// lingering has an element for each farewell that takes its time.
	lingering chan struct{}
	farewells sync.WaitGroup
}

// Accept implements [net.Listener].
func (l *boundedListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil || l.server.connections.Load() < int64(l.server.opts.MaxConnections) {
			return c, err
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
