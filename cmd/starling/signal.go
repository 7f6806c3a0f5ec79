package main

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"syscall"
)

// errSignal is why a command ended in the usual way.
var errSignal = errors.New("ended by a signal")

// endAtSignal ends the context at the first SIGTERM or SIGINT, after a call of
// asked. The second signal ends the process, whatever it is doing.
func endAtSignal(parent context.Context, asked func()) context.Context {
	ctx, cancel := context.WithCancelCause(parent)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM, os.Interrupt)
	go func() { // until the command ends
		defer signal.Stop(signals)
		defer cancel(errSignal)
		select {
		case <-signals:
		case <-parent.Done():
			return
		}
		asked()
		cancel(errSignal)
		select {
		case <-signals:
			os.Exit(exitFailed)
		case <-parent.Done():
		}
	}()
	return ctx
}
