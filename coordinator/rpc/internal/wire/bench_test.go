package wire

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/rpc"
	"sync"
	"syscall"
	"testing"
	"time"
)

// BenchmarkEcho compares round trips of 1 KB with net/rpc over loopback. Both
// sides run in this process, so cpu-ns/op is the CPU time of both together.
func BenchmarkEcho(b *testing.B) {
	for _, callers := range []int{1, 16, 64} {
		b.Run(fmt.Sprintf("starling/%d", callers), func(b *testing.B) { benchmarkStarling(b, callers) })
		b.Run(fmt.Sprintf("netrpc/%d", callers), func(b *testing.B) { benchmarkNetRPC(b, callers) })
	}
}

const echoBytes = 1 << 10

func benchmarkStarling(b *testing.B, callers int) {
	metrics, err := NewMetrics(nil)
	if err != nil {
		b.Fatal(err)
	}
	opts := Options{
		Cluster: func() [16]byte { return [16]byte{1} },
		Metrics: metrics, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
	}
	srv, err := NewServer(ServerOptions{
		Options: opts,
		Handle: func(_ context.Context, _ uint8, payload []byte, reply *Buffer) error {
			reply.B = append(reply.B, payload...)
			return nil
		},
		EncodeError: func(dst []byte, err error) []byte { return append(dst, err.Error()...) },
	})
	if err != nil {
		b.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ctx, ln) }()
	pool, err := NewPool(opts)
	if err != nil {
		b.Fatal(err)
	}
	body, addr := make([]byte, echoBytes), ln.Addr().String()
	measure(b, callers, func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		conn, err := pool.Get(ctx, addr, anyone, Interactive)
		if err != nil {
			return err
		}
		req := NewBuffer(echoBytes)
		req.B = append(req.B, body...)
		reply, err := conn.Call(ctx, 1, req)
		if err == nil && len(reply) != echoBytes {
			err = errors.New("short reply")
		}
		return err
	})
	pool.Close()
	cancel()
	if err := <-served; err != nil {
		b.Fatal(err)
	}
}

type netRPCEcho struct{}

// Echo is the method of the net/rpc server.
func (netRPCEcho) Echo(in *[]byte, out *[]byte) error {
	*out = *in
	return nil
}

func benchmarkNetRPC(b *testing.B, callers int) {
	srv := rpc.NewServer()
	if err := srv.RegisterName("Echo", netRPCEcho{}); err != nil {
		b.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer ln.Close()
	var serving sync.WaitGroup
	serving.Go(func() {
		if nc, err := ln.Accept(); err == nil {
			srv.ServeConn(nc)
		}
	})
	client, err := rpc.Dial("tcp", ln.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	body := make([]byte, echoBytes)
	measure(b, callers, func() error {
		var reply []byte
		if err := client.Call("Echo.Echo", &body, &reply); err != nil {
			return err
		}
		if len(reply) != echoBytes {
			return errors.New("short reply")
		}
		return nil
	})
	client.Close()
	serving.Wait()
}

// measure runs call from so many goroutines and reports CPU time.
func measure(b *testing.B, callers int, call func() error) {
	if err := call(); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	start := cpuNanos(b)
	b.ResetTimer()
	var wg sync.WaitGroup
	for i := range callers {
		n := b.N / callers
		if i < b.N%callers {
			n++
		}
		wg.Go(func() {
			for range n {
				if err := call(); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	b.ReportMetric(float64(cpuNanos(b)-start)/float64(b.N), "cpu-ns/op")
}

func cpuNanos(b *testing.B) int64 {
	var ru syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &ru); err != nil {
		b.Fatal(err)
	}
	return ru.Utime.Nano() + ru.Stime.Nano()
}
