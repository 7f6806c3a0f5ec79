package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"starling/cmd/internal/load"
)

// newBenchEchoCommand is the yardstick of bench compare: a process of its own,
// as the nodes are.
func newBenchEchoCommand(a *app) *cobra.Command {
	var listen string
	var valueBytes int
	cmd := &cobra.Command{
		Use:    "bench-echo",
		Short:  "Serve bench compare as a bare echo server",
		Hidden: true,
		Long: `Answer every GET with a fixed value and every PUT with 204, and nothing more.
The address is printed once it is ready; an interrupt ends it.`,
		Example: `  starling bench-echo --listen 127.0.0.1:0 --bytes 1024`,
		Args:    exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if valueBytes < 0 || valueBytes > maxInputBytes {
				return usagef("--bytes %d: 0 to %d are allowed", valueBytes, maxInputBytes)
			}
			l, err := net.Listen("tcp", listen)
			if err != nil {
				return fmt.Errorf("--listen %s: %w", listen, err)
			}
			if err := a.printLine(plain, "http://%s", l.Addr()); err != nil {
				return errors.Join(err, l.Close())
			}
			return serveUntil(endAtSignal(cmd.Context(), func() {}), l, load.Echo(valueBytes))
		},
	}
	cmd.Flags().StringVar(&listen, "listen", "127.0.0.1:0", "`address` to listen on; port 0 takes a free one")
	cmd.Flags().IntVar(&valueBytes, "bytes", 1024, "bytes of the value that a GET answers")
	return cmd
}

// serveUntil serves HTTP until the context ends, and waits for what is under
// way then.
func serveUntil(ctx context.Context, l net.Listener, h http.Handler) error {
	srv := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	err := srv.Shutdown(grace)
	if err != nil {
		err = srv.Close()
	}
	<-served
	return err
}
