package wire

import (
	"encoding/hex"
	"errors"
	"fmt"
)

// The outcome of a call that failed. ErrLost is the only one after which the
// request may have had an effect.
var (
	// ErrLost: the request was handed to the socket and no reply came.
	ErrLost = errors.New("wire: request sent, reply lost")
	// ErrOverloaded: a bounded queue or table is full, here or at the peer.
	ErrOverloaded = errors.New("wire: too much in flight")
	// ErrGoingAway: the peer is shutting down.
	ErrGoingAway = errors.New("wire: going away")
	// ErrExpired: the deadline passed before the request began to run.
	ErrExpired = errors.New("wire: deadline passed before the request ran")
	// ErrNotJoined: one of the two sides belongs to no cluster yet, and the
	// method needs one.
	ErrNotJoined = errors.New("wire: no common cluster yet")
	// ErrTooLarge: the message exceeds the frame bound.
	ErrTooLarge = errors.New("wire: message exceeds the frame bound")
	// ErrReplyDropped: the request ran, and its reply could not be queued
	// or exceeds the frame bound.
	ErrReplyDropped = errors.New("wire: request ran, reply dropped")
	// ErrDown: there is no connection to the peer.
	ErrDown = errors.New("wire: no connection")
)

// Why a connection ended.
var (
	// ErrClosed: this side closed it.
	ErrClosed = errors.New("wire: closed")
	// ErrDead: the peer was silent for DeadAfter, or for BusyDeadAfter while
	// calls waited.
	ErrDead = errors.New("wire: peer is silent")
	// ErrCorrupt: a frame or preface failed its checksum or its bounds.
	ErrCorrupt = errors.New("wire: corrupt frame")
	// ErrMagic: the peer does not speak this protocol.
	ErrMagic = errors.New("wire: not a Starling node port")
	// ErrVersion: the two version ranges do not meet.
	ErrVersion = errors.New("wire: no common protocol version")
	// ErrWrongCluster is what every [WrongClusterError] is.
	ErrWrongCluster = errors.New("wire: node of another cluster")
)

// WrongClusterError says that two nodes belong to different clusters.
type WrongClusterError struct{ Ours, Theirs [16]byte }

// Error implements error.
func (e *WrongClusterError) Error() string {
	return fmt.Sprintf("%v: ours is %s, theirs %s", ErrWrongCluster,
		hex.EncodeToString(e.Ours[:]), hex.EncodeToString(e.Theirs[:]))
}

// Is makes every WrongClusterError match [ErrWrongCluster].
func (e *WrongClusterError) Is(target error) bool { return target == ErrWrongCluster }

// RemoteError is an error frame: the peer's handler, or its server, answered
// with an error. The payload is for the layer above to decode.
type RemoteError struct{ Payload []byte }

// Error implements error.
func (e *RemoteError) Error() string {
	return fmt.Sprintf("wire: peer answered an error of %d bytes", len(e.Payload))
}

// PanicError is a handler's panic, recovered. What the request did before is
// not known.
type PanicError struct{ Value any }

// Error implements error.
func (e *PanicError) Error() string { return fmt.Sprintf("wire: handler panicked: %v", e.Value) }
