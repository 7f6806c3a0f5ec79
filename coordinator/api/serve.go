package api

import (
	"context"
	"fmt"
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

// The times of a stop.
const (
	// hushTime is how long answers do not ask for the end of their connection
	// before the listener is closed.
	hushTime = 50 * time.Millisecond
	// quietTime is how long nothing has come over a connection that is closed
	// without an answer that says so.
	quietTime = 500 * time.Millisecond
	// quietLook is the pause between two looks for such connections.
	quietLook = 20 * time.Millisecond
)

// Serve answers on ln until ctx ends. Then it stops in a way that cuts nobody
// off:
//
//  1. For DrainDelay it serves on, not ready, and every answer asks for the end
//     of its connection.
//  2. For a moment answers do not ask for that: who was asked before has dialled
//     again by the end of it, and nobody else has a reason to. So nobody is
//     just being let in when ln closes, for that connection would be reset.
//  3. It closes ln. Every answer is the last one on its connection again. A
//     connection over which nothing comes for half a second is closed without
//     an answer. Who has begun to send a request gets one.
//  4. ShutdownGrace after that it cuts what is left.
//
// It returns nil after that, and otherwise what ended the service.
//
// In two cases a caller can still lose a connection and have no answer, and in
// both the request was not read and nothing happened: HTTP/1.1 lets a server
// close a quiet connection at any time, and a request can be under way when
// it does (RFC 9112, section 9.5); and a caller who dials without having been
// asked to may be let in by the system in the moment in which ln closes.
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
		ConnState:         s.noteConnection,
		// OPTIONS * is no different from OPTIONS of any unknown path.
		DisableGeneralOptionsHandler: true,
	}
	serving, ended := context.WithCancel(context.WithoutCancel(ctx))
	var helpers sync.WaitGroup
	helpers.Go(func() { s.answerOverdue(serving) })
	stopped := make(chan error, 1)
	door := newDoor(ln, s)
	helpers.Go(func() { stopped <- s.stopAfter(ctx, serving, srv, door) })
	err := srv.Serve(door)
	if door.shut.Load() {
		err = <-stopped // requests end before the helpers do
	} else {
		err = fmt.Errorf("api: %w", err)
	}
	ended()
	helpers.Wait()
	door.farewells.Wait()
	return err
}

// stopAfter ends the service some time after ctx has ended, or does nothing
// where serving ends first. net/http's own Shutdown is of no use for it: from
// then on a connection is closed after the answer that it is giving, although
// that may not say so, and what comes over one at the same time is dropped.
func (s *Server) stopAfter(ctx, serving context.Context, srv *http.Server, door *door) error {
	select {
	case <-ctx.Done():
	case <-serving.Done():
		return nil
	}
	s.hushed.Store(s.opts.DrainDelay == 0)
	s.stopping.Store(true)
	for _, pause := range []time.Duration{s.opts.DrainDelay, hushTime} {
		select {
		case <-time.After(pause):
			s.hushed.Store(true)
		case <-serving.Done():
			return nil
		}
	}
	err := door.shutForGood()
	s.hushed.Store(false)
	if cut := s.seeOff(srv); cut != nil {
		err = cut
	}
	if err != nil {
		return fmt.Errorf("api: shutdown: %w", err)
	}
	return nil
}

// seeOff waits until no connection is left, for ShutdownGrace at most.
func (s *Server) seeOff(srv *http.Server) error {
	look := time.NewTicker(quietLook)
	defer look.Stop()
	grace := time.NewTimer(s.opts.ShutdownGrace)
	defer grace.Stop()
	for s.open.closeQuiet(time.Now()) > 0 {
		select {
		case <-look.C:
		case <-grace.C:
			s.opts.Logger.Warn("api: cutting connections that were still busy at shutdown", "inflight", s.admission.requests.Load())
			return srv.Close()
		}
	}
	return nil
}

// draining reports whether clients are to move away.
func (s *Server) draining() bool { return s.stopping.Load() || s.opts.Draining() }

// sayClose asks for the end of the connection where the node is draining.
func (s *Server) sayClose(h http.Header) {
	if s.draining() && !s.hushed.Load() {
		h["Connection"] = closeConnection
	}
}

// noteConnection is told of every change of a connection's state.
func (s *Server) noteConnection(c net.Conn, state http.ConnState) {
	s.open.note(c, state)
	switch state {
	case http.StateNew:
		s.connections.Add(1)
	case http.StateClosed, http.StateHijacked:
		s.connections.Add(-1)
	}
}
