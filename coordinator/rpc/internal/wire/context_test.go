package wire

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// The lazy context behaves as a real one, whenever it is first looked at.
func TestRequestContext(t *testing.T) {
	type key struct{}
	for _, early := range []bool{true, false} { // asked for Done before it ends
		for _, how := range []string{"canceled", "late", "derived canceled", "derived late"} {
			synctest.Test(t, func(t *testing.T) {
				c := &requestContext{deadline: time.Now().Add(time.Second)}
				var ctx context.Context = c
				if how == "derived canceled" || how == "derived late" {
					var cancel context.CancelFunc
					ctx, cancel = context.WithCancel(context.WithValue(c, key{}, "value"))
					defer cancel()
				}
				if early {
					select {
					case <-ctx.Done():
						t.Fatal("ended at once")
					default:
					}
				}
				if err := ctx.Err(); err != nil {
					t.Fatalf("at once: %v", err)
				}
				want := context.Canceled
				if how == "late" || how == "derived late" {
					want = context.DeadlineExceeded
					time.Sleep(time.Second)
				} else {
					c.cancel()
				}
				synctest.Wait()
				if err := ctx.Err(); !errors.Is(err, want) {
					t.Errorf("%s, asked early %v: %v", how, early, err)
				}
				<-ctx.Done()
				if err := ctx.Err(); !errors.Is(err, want) {
					t.Errorf("%s, asked early %v, after Done: %v", how, early, err)
				}
				c.cancel()
			})
		}
	}
}

func TestRequestContextWithoutDeadline(t *testing.T) {
	c := &requestContext{}
	if _, ok := c.Deadline(); ok || c.Err() != nil || c.Value("x") != nil {
		t.Fatal("not empty")
	}
	ran := make(chan struct{})
	context.AfterFunc(c, func() { close(ran) })
	c.cancel()
	<-ran
}
