package wire

import (
	"context"
	"errors"
	"net"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

func TestRefusedDialFailsAtOnceAndBacksOff(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, echo)
		r.newPool()
		r.t.Cleanup(r.pool.Close)
		start := time.Now()
		deadline := start.Add(10 * time.Second)
		for time.Now().Before(deadline) {
			_, err := r.call(t.Context(), "")
			wantErr(t, err, ErrDown)
			wantErr(t, err, syscall.ECONNREFUSED)
			certain(t, err)
			time.Sleep(time.Millisecond)
		}
		// 20, 40, 80, 160, then every 250 ms.
		if got := r.net.dialled(); got < 40 || got > 44 {
			t.Fatalf("%d dials in 10 s", got)
		}
	})
}

// A node on the address of one that died is dialled at once, and has a backoff
// of its own.
func TestANewNodeDoesNotSufferForTheDead(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, echo)
		r.newPool()
		r.t.Cleanup(r.pool.Close)
		dead, heir := [16]byte{1}, [16]byte{2}
		get := func(node [16]byte) error {
			_, err := r.pool.Get(t.Context(), "srv", node, Interactive)
			return err
		}
		for range 5 { // until the backoff is the longest
			wantErr(t, get(dead), ErrDown)
			time.Sleep(maxBackoff)
		}
		wantErr(t, get(dead), ErrDown)
		dials := r.net.dialled()
		for _, node := range [][16]byte{dead, anyone} {
			wantErr(t, get(node), ErrDown)
		}
		if got := r.net.dialled(); got != dials {
			t.Fatalf("%d dials during the backoff, want %d", got, dials)
		}
		wantErr(t, get(heir), ErrDown)
		wantErr(t, get(heir), ErrDown)
		if got := r.net.dialled(); got != dials+1 {
			t.Fatalf("%d dials, want one for the new node", got-dials)
		}
		time.Sleep(minBackoff)
		r.start()
		if err := get(heir); err != nil {
			t.Fatal(err)
		}
	})
}

func TestCallerWaitsForDialWithinItsContext(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, echo)
		r.opts.Dial = func(ctx context.Context, _ string) (net.Conn, error) {
			<-ctx.Done() // a black hole
			return nil, ctx.Err()
		}
		r.newPool()
		r.t.Cleanup(r.pool.Close)
		const patience = 300 * time.Millisecond
		ctx, cancel := within(patience)
		defer cancel()
		start := time.Now()
		_, err := r.call(ctx, "")
		wantErr(t, err, ErrDown)
		wantErr(t, err, context.DeadlineExceeded)
		certain(t, err)
		if took := time.Since(start); took != patience {
			t.Fatalf("waited %v", took)
		}
		_, err = r.call(t.Context(), "")
		wantErr(t, err, ErrDown)
		if took := time.Since(start); took != DefaultDialTimeout {
			t.Fatalf("a black hole was given %v", took)
		}
		// Now it is known to be slow: nobody waits for it any more.
		for range 100 {
			start = time.Now()
			_, err = r.call(t.Context(), "")
			wantErr(t, err, ErrDown)
			if took := time.Since(start); took != 0 {
				t.Fatalf("waited %v", took)
			}
			time.Sleep(100 * time.Millisecond)
		}
	})
}

func TestReconnectAfterRestart(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, echo)
		r.start()
		r.get(t.Context())
		r.stop()
		synctest.Wait()
		_, err := r.call(t.Context(), "")
		wantErr(t, err, ErrDown)
		r.serve()
		start := time.Now()
		for {
			if got, err := r.call(t.Context(), "back"); err == nil && got == "back" {
				break
			}
			if time.Since(start) > maxBackoff {
				t.Fatal("no connection after the backoff")
			}
			time.Sleep(time.Millisecond)
		}
		if took := time.Since(start); took > minBackoff {
			t.Fatalf("took %v after one failure, want %v", took, minBackoff)
		}
	})
}

func TestDialErrorsNameTheReason(t *testing.T) {
	other := [16]byte{0xc2}
	for _, c := range []struct {
		name string
		set  func(r *rig)
		want error
		text string
	}{
		{"another cluster", func(r *rig) { r.srv.Cluster = func() [16]byte { return other } }, ErrWrongCluster, "c2"},
		{"newer", func(r *rig) { r.srv.Versions = Versions{7, 9} }, ErrVersion, "7 to 9"},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r := newRig(t, echo)
				c.set(r)
				r.start()
				_, err := r.call(t.Context(), "")
				wantErr(t, err, c.want)
				wantErr(t, err, ErrDown)
				if !strings.Contains(err.Error(), c.text) {
					t.Errorf("%q does not say %q", err, c.text)
				}
			})
		})
	}
}

func TestWrongPort(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, echo)
		ln := r.net.listen("srv")
		go func() {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			nc.Read(make([]byte, 100))
			nc.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"))
			nc.Close()
		}()
		r.newPool()
		r.t.Cleanup(r.pool.Close)
		r.t.Cleanup(func() { ln.Close() })
		_, err := r.call(t.Context(), "")
		wantErr(t, err, ErrMagic)
		if !strings.Contains(err.Error(), "HTTP") {
			t.Errorf("%q does not help", err)
		}
	})
}

func TestPrefaceTimeout(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, echo)
		r.opts.DialTimeout = time.Minute
		r.start()
		silent := r.net.listen("silent")
		go func() {
			nc, err := silent.Accept()
			for err == nil {
				_, err = nc.Read(make([]byte, 100))
			}
		}()
		start := time.Now()
		_, err := r.pool.Get(t.Context(), "silent", anyone, Interactive)
		wantErr(t, err, ErrDown)
		if took := time.Since(start); took != DefaultPrefaceTimeout {
			t.Errorf("a silent server was given %v", took)
		}
		silent.Close()

		nc, err := r.net.dial(t.Context(), "srv")
		if err != nil {
			t.Fatal(err)
		}
		start = time.Now()
		nc.Read(make([]byte, 1))
		if took := time.Since(start); took != DefaultPrefaceTimeout {
			t.Errorf("a silent client was given %v", took)
		}
		nc.Close()
	})
}

func TestCloseEndsADial(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, echo)
		ln := r.net.listen("srv")
		t.Cleanup(func() { ln.Close() })
		accepted := make(chan net.Conn, 1)
		go func() {
			if nc, err := ln.Accept(); err == nil {
				accepted <- nc
			}
		}()
		r.newPool()
		got := make(chan error)
		go func() {
			_, err := r.pool.Get(t.Context(), "srv", anyone, Interactive)
			got <- err
		}()
		(<-accepted).Read(make([]byte, 1)) // it is in the preface
		start := time.Now()
		r.pool.Close()
		if err := <-got; !errors.Is(err, ErrDown) {
			t.Fatalf("got %v", err)
		}
		if time.Since(start) != 0 {
			t.Fatal("Close waited for the preface")
		}
	})
}
