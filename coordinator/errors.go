package coordinator

import (
	"errors"
	"fmt"
	"strings"

	"starling/ring"
)

// Errors that a coordinator answers. Which HTTP status and which wire code an
// error has is decided in one table each, by the adapters.
var (
	// ErrStaleRing: the sender placed the key by another ring than ours.
	// Nothing happened; exchange maps and try again.
	ErrStaleRing = errors.New("coordinator: placement differs from this node's ring")
	// ErrGone: the bucket was dropped, and this is the name of its objects up
	// to then. It is true for ever. What the request may have left behind is
	// gone with the bucket; the bucket's next incarnation has another name.
	ErrGone = errors.New("coordinator: the bucket was dropped")
	// ErrNotReady: the node has not joined, or is draining. Nothing happened.
	ErrNotReady = errors.New("coordinator: node is not ready to serve")
	// ErrOverloaded: a bounded queue is full. Nothing happened.
	ErrOverloaded = errors.New("coordinator: overloaded")
	// ErrUnreachable: no connection to the peer. Nothing happened there.
	ErrUnreachable = errors.New("coordinator: peer unreachable")
	// ErrUnknown: the request may have taken effect at the peer.
	ErrUnknown = errors.New("coordinator: outcome unknown")
	// ErrNotVisible: no reachable replica has what the session context saw.
	ErrNotVisible = errors.New("coordinator: the session context is not yet visible")
	// ErrTooFewOwners: the partition has fewer owners than must answer.
	// Nothing happened; more nodes, or a lower consistency, would help.
	ErrTooFewOwners = errors.New("coordinator: the partition has too few owners")
	// ErrHintsFull: the node keeps as many hints as it may. Nothing happened
	// there; room comes back as hints are delivered.
	ErrHintsFull = errors.New("coordinator: the room for hints is used up")
	// ErrInvalid: the request itself is wrong; the wrapping error says where.
	ErrInvalid = errors.New("coordinator: invalid request")
)

// QuorumError says that a request did not hear from enough replicas.
type QuorumError struct {
	// Op is "get" or "put".
	Op string
	// Required and Received count replica answers.
	Required, Received int
	// MaybeApplied is set where a replica may hold the write after all.
	MaybeApplied bool
	// Timeout is set where the deadline ended the wait, rather than
	// failures that made the quorum impossible.
	Timeout bool
	// Causes are the replicas' own errors, those that came.
	Causes []ReplicaError
}

// ReplicaError is what one replica answered instead of an acknowledgement.
type ReplicaError struct {
	Node ring.NodeID
	Err  error
}

// Error implements error.
func (e ReplicaError) Error() string { return fmt.Sprintf("%s: %v", e.Node, e.Err) }

// Unwrap gives the replica's error.
func (e ReplicaError) Unwrap() error { return e.Err }

// Error implements error.
func (e *QuorumError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "coordinator: %s: %d of %d required replicas answered", e.Op, e.Received, e.Required)
	if e.Timeout {
		b.WriteString(" before the deadline")
	}
	for i, c := range e.Causes {
		if i == 0 {
			b.WriteString(" (")
		} else {
			b.WriteString("; ")
		}
		b.WriteString(c.Error())
	}
	if len(e.Causes) > 0 {
		b.WriteString(")")
	}
	return b.String()
}

// Unwrap gives the errors of all replicas.
func (e *QuorumError) Unwrap() []error {
	errs := make([]error, len(e.Causes))
	for i, c := range e.Causes {
		errs[i] = c
	}
	return errs
}
