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

// endAtSignal ends the context at the first SIGTERM or SIGINT. From then on
// the signals do what they do to any process: the second one kills it.
func endAtSignal(ctx context.Context) context.Context {
	ctx, cancel := context.WithCancelCause(ctx)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, os.Interrupt)
	go func() {
		select {
		case <-signals:
		case <-ctx.Done():
		}
		signal.Stop(signals)
		cancel(errSignal)
	}()
	return ctx
}
