package rpc

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"starling/antientropy"
	"starling/coordinator"
	"starling/coordinator/rpc/internal/wire"
	"starling/gossip/state"
	"starling/store"
	"starling/store/bucket/resolve"
	"starling/store/object"
)

// Every error that a handler may wrap is found on the far side, with what it
// says of the outcome; and no other is.
func TestErrorsTravel(t *testing.T) {
	all := map[string]struct {
		err             error
		retryable, open bool
	}{
		"stale ring":        {coordinator.ErrStaleRing, true, false},
		"not ready":         {coordinator.ErrNotReady, true, false},
		"overloaded":        {coordinator.ErrOverloaded, true, false},
		"unreachable":       {coordinator.ErrUnreachable, true, false},
		"unknown":           {coordinator.ErrUnknown, true, true},
		"not visible":       {coordinator.ErrNotVisible, true, false},
		"invalid":           {coordinator.ErrInvalid, false, false},
		"too many siblings": {object.ErrTooManySiblings, false, false},
		"too large":         {object.ErrTooLarge, false, false},
		"disk full":         {store.ErrDiskFull, true, false},
		"corrupt":           {store.ErrCorrupt, true, false},
		"closed":            {store.ErrClosed, true, false},
		"deadline":          {context.DeadlineExceeded, true, true},
		"foreign cluster":   {state.ErrForeignCluster, false, false},
		"settings":          {state.ErrSettings, false, false},
		"name taken":        {state.ErrNameTaken, false, false},
		"too many members":  {state.ErrTooManyMembers, false, false},
		"method":            {ErrMethod, false, false},
		"hints full":        {coordinator.ErrHintsFull, true, false},
		"too few owners":    {coordinator.ErrTooFewOwners, true, false},
		"gone":              {coordinator.ErrGone, false, false},
		"unfit":             {resolve.ErrUnfit, false, false},
		"future":            {resolve.ErrFuture, false, false},
		"range":             {resolve.ErrRange, false, false},
		"busy":              {resolve.ErrBusy, true, false},
	}
	for name, c := range all {
		near := fmt.Errorf("partition 7: %w", c.err)
		far := remoteOf(near)
		if far.Error() != near.Error() || far.Retryable != c.retryable || far.MaybeApplied != c.open {
			t.Errorf("%s: got %q, retryable %v, maybe applied %v", name, far, far.Retryable, far.MaybeApplied)
		}
		for other, o := range all {
			want := errors.Is(near, o.err) || o.err == coordinator.ErrUnknown && c.open
			if got := errors.Is(far, o.err); got != want {
				t.Errorf("%s: is %s: %v, want %v", name, other, got, want)
			}
		}
	}
}

func TestErrorsOfTheServerItself(t *testing.T) {
	for _, c := range []struct {
		err  error
		want error
		open bool
	}{
		{wire.ErrGoingAway, coordinator.ErrNotReady, false},
		{wire.ErrNotJoined, coordinator.ErrNotReady, false},
		{wire.ErrOverloaded, coordinator.ErrOverloaded, false},
		{wire.ErrExpired, context.DeadlineExceeded, false},
		{fmt.Errorf("%w: %w", wire.ErrReplyDropped, wire.ErrOverloaded), coordinator.ErrUnknown, true},
		{&wire.WrongClusterError{}, ErrWrongCluster, false},
		{&wire.WrongClusterError{}, state.ErrForeignCluster, false},
		{&wire.PanicError{Value: "boom"}, coordinator.ErrUnknown, true},
		{&wire.PanicError{Value: coordinator.ErrStaleRing}, coordinator.ErrUnknown, true},
		{malformed("x"), coordinator.ErrInvalid, false},
		{store.ErrInvalid, coordinator.ErrInvalid, false},
		{antientropy.ErrTooMuch, coordinator.ErrInvalid, false},
		{antientropy.ErrRefused, coordinator.ErrStaleRing, false},
		{store.ErrHintsFull, coordinator.ErrHintsFull, false},
		{errors.New("never heard of"), coordinator.ErrUnknown, true},
		{context.Canceled, coordinator.ErrUnknown, true},
	} {
		far := remoteOf(c.err)
		if !errors.Is(far, c.want) || far.MaybeApplied != c.open || errors.Is(far, coordinator.ErrUnknown) != c.open {
			t.Errorf("%v: got %v, maybe applied %v", c.err, far.Unwrap(), far.MaybeApplied)
		}
	}
}

func TestErrorTableIsComplete(t *testing.T) {
	seen := map[code]bool{}
	for _, row := range errorTable {
		seen[row.code] = true
		if len(sentinels[row.code]) == 0 {
			t.Errorf("%v: code %d stands for nothing on the far side", row.err, row.code)
		}
	}
	for c := range sentinels {
		if !seen[c] {
			t.Errorf("code %d is never sent", c)
		}
	}
}

func TestQuorumErrorTravels(t *testing.T) {
	near := fmt.Errorf("forwarded: %w", testQuorumError())
	far := remoteOf(near)
	var got, want *coordinator.QuorumError
	if !errors.As(far, &got) || !errors.As(near, &want) {
		t.Fatalf("no quorum error in %v", far)
	}
	if far.Error() != near.Error() || got.Error() != want.Error() {
		t.Errorf("got %q around %q", far, got)
	}
	if !far.MaybeApplied || !errors.Is(far, coordinator.ErrUnknown) {
		t.Error("maybe applied was lost")
	}
	if !errors.Is(got.Causes[0], coordinator.ErrStaleRing) || errors.Is(got.Causes[1], coordinator.ErrStaleRing) {
		t.Error("the causes were mixed up")
	}
	got.Causes, want.Causes = nil, nil
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if again := remoteOf(far); !reflect.DeepEqual(again, far) {
		t.Errorf("passed on, %+v became %+v", far, again)
	}
}

// A quorum error says itself whether the write may be somewhere.
func TestQuorumErrorDecidesTheOutcome(t *testing.T) {
	far := remoteOf(&coordinator.QuorumError{Op: "get", Required: 2, Causes: []coordinator.ReplicaError{
		{Node: nodeA, Err: context.DeadlineExceeded},
	}})
	if far.MaybeApplied || !far.Retryable {
		t.Errorf("got %+v", far)
	}
	var empty *coordinator.QuorumError
	if far = remoteOf(&coordinator.QuorumError{}); !errors.As(far, &empty) {
		t.Error("an empty quorum error got lost")
	}
}

func TestLongErrorsAreCut(t *testing.T) {
	q := &coordinator.QuorumError{Op: "put", Required: 1}
	for range 10 * maxCauses {
		q.Causes = append(q.Causes, coordinator.ReplicaError{Node: nodeA, Err: errors.New(strings.Repeat("é", 5000))})
	}
	b := appendError(nil, q)
	if limit := (maxCauses + 2) * (maxMessageBytes + 64); len(b) > limit {
		t.Errorf("%d bytes", len(b))
	}
	far := remoteOf(q)
	if n := len(far.Message); n < maxMessageBytes-4 || n > maxMessageBytes || strings.ContainsRune(far.Message, '�') {
		t.Errorf("message of %d bytes: %q", n, far.Message)
	}
	var got *coordinator.QuorumError
	if !errors.As(far, &got) || len(got.Causes) != maxCauses {
		t.Errorf("%d causes", len(got.Causes))
	}
}

// A code of a later version matches nothing, and the flags still count.
func TestUnknownErrorCode(t *testing.T) {
	b := appendPacked(nil, errorCodes, []code{codeStaleRing, 4000})
	b = appendFlag(appendText(b, errorMessage, "new"), errorMaybeApplied, true)
	e, err := decodeError(b)
	if err != nil || !errors.Is(e, coordinator.ErrStaleRing) || !e.MaybeApplied {
		t.Fatalf("got %+v, %v", e, err)
	}
}

// The outcome of a call in the terms of its caller.
func TestOutcome(t *testing.T) {
	live := context.Background()
	canceled, cancel := context.WithCancel(live)
	cancel()
	late, cancelLate := context.WithTimeout(live, 0)
	defer cancelLate()
	wrap := func(errs ...error) error { return fmt.Errorf("x: %w", errors.Join(errs...)) }
	all := []error{
		coordinator.ErrUnknown, coordinator.ErrUnreachable, coordinator.ErrOverloaded, coordinator.ErrInvalid,
		state.ErrForeignCluster, context.DeadlineExceeded, context.Canceled,
	}
	for _, c := range []struct {
		name string
		ctx  context.Context
		err  error
		want []error
	}{
		{"reply lost", live, wrap(wire.ErrLost, wire.ErrDead), []error{coordinator.ErrUnknown}},
		{"deadline after sending", late, wrap(wire.ErrLost, context.DeadlineExceeded), []error{coordinator.ErrUnknown, context.DeadlineExceeded}},
		{"deadline before sending", late, wrap(context.DeadlineExceeded), []error{context.DeadlineExceeded}},
		{"queue full", live, wrap(wire.ErrOverloaded), []error{coordinator.ErrOverloaded}},
		{"no connection", live, wrap(wire.ErrDown), []error{coordinator.ErrUnreachable}},
		{"the dial timed out", live, wrap(wire.ErrDown, context.DeadlineExceeded), []error{coordinator.ErrUnreachable}},
		{"deadline while dialling", late, wrap(wire.ErrDown, context.DeadlineExceeded), []error{coordinator.ErrUnreachable, context.DeadlineExceeded}},
		{"given up while dialling", canceled, wrap(wire.ErrDown, context.Canceled), []error{context.Canceled}},
		{"another cluster", live, wrap(wire.ErrDown, &wire.WrongClusterError{}), []error{coordinator.ErrUnreachable, state.ErrForeignCluster}},
		{"too large", live, wrap(wire.ErrTooLarge), []error{coordinator.ErrInvalid}},
		{"garbage for an error", live, &wire.RemoteError{Payload: []byte{1}}, []error{coordinator.ErrUnknown}},
	} {
		got := outcome(c.ctx, target{addr: "there"}, c.err)
		for _, e := range all {
			want := false
			for _, w := range c.want {
				want = want || w == e
			}
			if errors.Is(got, e) != want {
				t.Errorf("%s: %v: is %q: %v", c.name, got, e, !want)
			}
		}
	}
}
