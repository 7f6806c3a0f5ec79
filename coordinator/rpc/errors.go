package rpc

import (
	"context"
	"errors"
	"slices"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"

	"starling/antientropy"
	"starling/coordinator"
	"starling/coordinator/rpc/internal/wire"
	"starling/gossip/state"
	"starling/store"
	"starling/store/bucket/resolve"
	"starling/store/object"
)

// ErrWrongCluster: the peer belongs to another cluster. The error names both.
var ErrWrongCluster = wire.ErrWrongCluster

// WrongClusterError is the type of every [ErrWrongCluster].
type WrongClusterError = wire.WrongClusterError

// ErrMethod: the peer does not know the method; it may be older.
var ErrMethod = errors.New("rpc: unknown method")

// code is an error's number on the wire. Numbers are never given anew.
type code uint64

const (
	codeStaleRing code = 1 + iota
	codeNotReady
	codeOverloaded
	codeUnreachable
	codeUnknown
	codeNotVisible
	codeInvalid
	codeTooManySiblings
	codeTooLarge
	codeDiskFull
	codeCorrupt
	codeClosed
	codeDeadline
	codeForeignCluster
	codeSettings
	codeWrongCluster
	codeMethod
	codeNameTaken
	codeTooManyMembers
	codeHintsFull
	codeTooFewOwners
	codeGone
	codeUnfit
	codeFuture
	codeRange
	codeBusy
)

// The two halves of an error's description.
const (
	retryable = true  // the same request may succeed later, or elsewhere
	final     = false // it will not

	open = true  // the request may have had an effect
	none = false // it had none
)

// errorTable says which code an error of this side gets, and what it means for
// the request. An error has the codes of all rows that it matches; one that
// matches none is internal: not retryable, and the outcome is open.
var errorTable = []struct {
	err       error
	code      code
	retryable bool
	open      bool
}{
	{coordinator.ErrStaleRing, codeStaleRing, retryable, none},
	{antientropy.ErrRefused, codeStaleRing, retryable, none},
	{coordinator.ErrNotReady, codeNotReady, retryable, none},
	{wire.ErrGoingAway, codeNotReady, retryable, none},
	{wire.ErrNotJoined, codeNotReady, retryable, none},
	{coordinator.ErrOverloaded, codeOverloaded, retryable, none},
	{wire.ErrOverloaded, codeOverloaded, retryable, none},
	{coordinator.ErrUnreachable, codeUnreachable, retryable, none},
	{coordinator.ErrUnknown, codeUnknown, retryable, open},
	{wire.ErrReplyDropped, codeUnknown, retryable, open},
	{coordinator.ErrNotVisible, codeNotVisible, retryable, none},
	{coordinator.ErrInvalid, codeInvalid, final, none},
	{store.ErrInvalid, codeInvalid, final, none},
	{antientropy.ErrTooMuch, codeInvalid, final, none},
	{ErrMalformed, codeInvalid, final, none},
	{object.ErrTooManySiblings, codeTooManySiblings, final, none},
	{object.ErrTooLarge, codeTooLarge, final, none},
	{store.ErrDiskFull, codeDiskFull, retryable, none},
	{store.ErrCorrupt, codeCorrupt, retryable, none},
	{store.ErrClosed, codeClosed, retryable, none},
	{wire.ErrExpired, codeDeadline, retryable, none},
	{context.DeadlineExceeded, codeDeadline, retryable, open},
	{state.ErrForeignCluster, codeForeignCluster, final, none},
	{state.ErrSettings, codeSettings, final, none},
	{wire.ErrWrongCluster, codeWrongCluster, final, none},
	{ErrMethod, codeMethod, final, none},
	{state.ErrNameTaken, codeNameTaken, final, none},
	{state.ErrTooManyMembers, codeTooManyMembers, final, none},
	{coordinator.ErrHintsFull, codeHintsFull, retryable, none},
	{store.ErrHintsFull, codeHintsFull, retryable, none},
	{coordinator.ErrTooFewOwners, codeTooFewOwners, retryable, none},
	{coordinator.ErrGone, codeGone, final, none},
	{resolve.ErrUnfit, codeUnfit, final, none},
	{resolve.ErrFuture, codeFuture, final, none},
	{resolve.ErrRange, codeRange, final, none},
	{resolve.ErrBusy, codeBusy, retryable, none},
}

// sentinels are the errors that a code stands for on the far side: those of
// the table, but never the internal ones of package wire. A refused stamp has a
// name in each of the packages that send stamps.
var sentinels = map[code][]error{
	codeStaleRing:       {coordinator.ErrStaleRing, antientropy.ErrRefused},
	codeNotReady:        {coordinator.ErrNotReady},
	codeOverloaded:      {coordinator.ErrOverloaded},
	codeUnreachable:     {coordinator.ErrUnreachable},
	codeUnknown:         {coordinator.ErrUnknown},
	codeNotVisible:      {coordinator.ErrNotVisible},
	codeInvalid:         {coordinator.ErrInvalid},
	codeTooManySiblings: {object.ErrTooManySiblings},
	codeTooLarge:        {object.ErrTooLarge},
	codeDiskFull:        {store.ErrDiskFull},
	codeCorrupt:         {store.ErrCorrupt},
	codeClosed:          {store.ErrClosed},
	codeDeadline:        {context.DeadlineExceeded},
	codeForeignCluster:  {state.ErrForeignCluster},
	codeSettings:        {state.ErrSettings},
	codeWrongCluster:    {ErrWrongCluster, state.ErrForeignCluster},
	codeMethod:          {ErrMethod},
	codeNameTaken:       {state.ErrNameTaken},
	codeTooManyMembers:  {state.ErrTooManyMembers},
	codeHintsFull:       {coordinator.ErrHintsFull},
	codeTooFewOwners:    {coordinator.ErrTooFewOwners},
	codeGone:            {coordinator.ErrGone},
	codeUnfit:           {resolve.ErrUnfit},
	codeFuture:          {resolve.ErrFuture},
	codeRange:           {resolve.ErrRange},
	codeBusy:            {resolve.ErrBusy},
}

// RemoteError is what a peer answered instead of a result. errors.Is and
// errors.As look through it at the sentinels, and the coordinator.QuorumError,
// that the peer's own error held.
type RemoteError struct {
	// Message is the peer's text.
	Message string
	// Retryable: the same request may succeed later, or at another node.
	Retryable bool
	// MaybeApplied: the request may have had an effect. The error then
	// wraps coordinator.ErrUnknown.
	MaybeApplied bool

	codes  []code // ascending
	quorum *coordinator.QuorumError
}

// Error is the peer's text.
func (e *RemoteError) Error() string { return e.Message }

// Unwrap gives the sentinels.
func (e *RemoteError) Unwrap() []error {
	var errs []error
	if e.quorum != nil {
		errs = append(errs, e.quorum)
	}
	if e.MaybeApplied {
		errs = append(errs, coordinator.ErrUnknown)
	}
	for _, c := range e.codes {
		errs = append(errs, sentinels[c]...)
	}
	return errs
}

// describe turns an error of this side into what is sent of it. One that came
// from a peer is passed on as it came.
func describe(err error) *RemoteError {
	if e, ok := err.(*RemoteError); ok {
		return e
	}
	e := &RemoteError{Message: err.Error(), Retryable: true}
	for _, row := range errorTable {
		if !errors.Is(err, row.err) {
			continue
		}
		e.codes = append(e.codes, row.code)
		e.Retryable = e.Retryable && row.retryable
		e.MaybeApplied = e.MaybeApplied || row.open
	}
	slices.Sort(e.codes)
	e.codes = slices.Compact(e.codes)
	switch {
	case errors.As(err, &e.quorum):
		// It knows better than its replicas' errors taken together.
		e.Retryable, e.MaybeApplied = true, e.quorum.MaybeApplied
	case len(e.codes) == 0:
		e.Retryable, e.MaybeApplied = false, true
	}
	return e
}

// Field numbers of an error.
const (
	errorCodes        protowire.Number = 1
	errorMessage      protowire.Number = 2
	errorRetryable    protowire.Number = 3
	errorMaybeApplied protowire.Number = 4
	errorQuorum       protowire.Number = 5

	quorumOp           protowire.Number = 1
	quorumRequired     protowire.Number = 2
	quorumReceived     protowire.Number = 3
	quorumMaybeApplied protowire.Number = 4
	quorumTimeout      protowire.Number = 5
	quorumCause        protowire.Number = 6

	causeNode    protowire.Number = 1
	causeCodes   protowire.Number = 2
	causeMessage protowire.Number = 3
)

const (
	maxMessageBytes = 1 << 10 // of an error's text; longer ones are cut
	maxCodes        = 64
	maxCauses       = 64 // further ones are left out
)

// appendError is the payload of an error frame.
func appendError(dst []byte, err error) []byte { return describe(err).append(dst) }

func (e *RemoteError) append(dst []byte) []byte {
	dst = appendPacked(dst, errorCodes, e.codes)
	dst = appendText(dst, errorMessage, cut(e.Message))
	dst = appendFlag(dst, errorRetryable, e.Retryable)
	dst = appendFlag(dst, errorMaybeApplied, e.MaybeApplied)
	if e.quorum != nil {
		dst = appendNested(dst, errorQuorum, func(b []byte) []byte { return appendQuorum(b, e.quorum) })
	}
	return dst
}

func appendQuorum(dst []byte, q *coordinator.QuorumError) []byte {
	dst = appendText(dst, quorumOp, cut(q.Op))
	dst = appendUint(dst, quorumRequired, uint64(q.Required))
	dst = appendUint(dst, quorumReceived, uint64(q.Received))
	dst = appendFlag(dst, quorumMaybeApplied, q.MaybeApplied)
	dst = appendFlag(dst, quorumTimeout, q.Timeout)
	for _, c := range q.Causes[:min(len(q.Causes), maxCauses)] {
		dst = appendNested(dst, quorumCause, func(b []byte) []byte {
			e := describe(c.Err)
			b = appendID(b, causeNode, c.Node)
			b = appendPacked(b, causeCodes, e.codes)
			return appendText(b, causeMessage, cut(e.Message))
		})
	}
	return dst
}

// cut bounds a text, between two characters.
func cut(s string) string {
	if len(s) <= maxMessageBytes {
		return s
	}
	n := maxMessageBytes
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

func decodeError(b []byte) (*RemoteError, error) {
	e := &RemoteError{}
	f := fields{b: b}
	for f.next() {
		switch f.num {
		case errorCodes:
			e.codes = f.codes()
		case errorMessage:
			e.Message = f.text(maxMessageBytes)
		case errorRetryable:
			e.Retryable = f.flag()
		case errorMaybeApplied:
			e.MaybeApplied = f.flag()
		case errorQuorum:
			e.quorum = decodeQuorum(&f)
		}
	}
	return e, f.err
}

func decodeQuorum(outer *fields) *coordinator.QuorumError {
	q := &coordinator.QuorumError{}
	f := fields{b: outer.element(0, 1)} // empty when all of it is zero
	if outer.again {
		f.fail(malformed("field %d twice", outer.num))
	}
	for f.next() {
		switch f.num {
		case quorumOp:
			q.Op = f.text(maxMessageBytes)
		case quorumRequired:
			q.Required = int(f.uint(maxReplicas))
		case quorumReceived:
			q.Received = int(f.uint(maxReplicas))
		case quorumMaybeApplied:
			q.MaybeApplied = f.flag()
		case quorumTimeout:
			q.Timeout = f.flag()
		case quorumCause:
			q.Causes = append(q.Causes, decodeCause(&f, len(q.Causes)))
		}
	}
	outer.fail(f.err)
	return q
}

func decodeCause(outer *fields, have int) (c coordinator.ReplicaError) {
	e := &RemoteError{}
	f := fields{b: outer.element(have, maxCauses)}
	for f.next() {
		switch f.num {
		case causeNode:
			c.Node = f.id()
		case causeCodes:
			e.codes = f.codes()
		case causeMessage:
			e.Message = f.text(maxMessageBytes)
		}
	}
	outer.fail(f.err)
	c.Err = e
	return c
}

// codes decodes ascending codes. One that this build does not know is kept: it
// matches no sentinel.
func (f *fields) codes() (codes []code) {
	for x := range f.packed(maxCodes) {
		if x == 0 || len(codes) > 0 && code(x) <= codes[len(codes)-1] {
			f.fail(malformed("code %d out of order", x))
		}
		codes = append(codes, code(x))
	}
	return codes
}
