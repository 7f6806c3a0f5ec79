//go:build unix && !aix && !solaris

package api

import (
	"net"
	"os"
	"syscall"
)

// hasInput says whether something has come that was not read yet, where the
// system tells: the goroutine that reads a connection may not have had its turn.
func hasInput(c net.Conn) (has bool) {
	s, ok := c.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return false
	}
	err = raw.Control(func(fd uintptr) {
		n, _, err := syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		has = err == nil && n > 0
	})
	return has && err == nil
}

// lastWaiting takes the connections that the system holds ready for ln, where it
// tells of them, and has it hold no others: there is no time in between that
// depends on when a goroutine has its turn.
func lastWaiting(ln net.Listener) (waiting []net.Conn) {
	s, ok := ln.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return nil
	}
	var fds []int
	_ = raw.Control(func(listener uintptr) { // an error means that it is closed
		fds = acceptAll(int(listener))
		// Where the system does not know this of listeners, they are closed soon.
		_ = syscall.Shutdown(int(listener), syscall.SHUT_RD)
	})
	for _, fd := range fds {
		if c, err := connOf(fd); err == nil {
			waiting = append(waiting, c)
		}
	}
	return waiting
}

// acceptAll accepts until there is nobody, or an error. It does not wait: a
// listener of Go's never does.
func acceptAll(listener int) (fds []int) {
	for {
		fd, _, err := syscall.Accept(listener)
		switch err {
		case nil:
			fds = append(fds, fd)
		case syscall.EINTR, syscall.ECONNABORTED:
		default: // EAGAIN, as a rule
			return fds
		}
	}
}

// connOf is the connection of a file descriptor, which it takes over.
func connOf(fd int) (net.Conn, error) {
	syscall.CloseOnExec(fd)
	f := os.NewFile(uintptr(fd), "")
	defer func() { _ = f.Close() }() // the connection has a copy
	return net.FileConn(f)
}
