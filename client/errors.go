package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Sentinels of this package, for errors.Is.
var (
	// ErrNotFound: the key has no value. The error is a [*NotFoundError].
	ErrNotFound = errors.New("client: not found")
	// ErrUnreachable: the last attempt got no answer from its endpoint.
	ErrUnreachable = errors.New("client: endpoint unreachable")
	// ErrInvalid: the arguments of the call are wrong; nothing was sent.
	ErrInvalid = errors.New("client: invalid argument")
	// ErrTooLarge: the answer is larger than Options.MaxAnswerBytes.
	ErrTooLarge = errors.New("client: answer too large")
	// ErrClosed: the client was closed.
	ErrClosed = errors.New("client: closed")
)

// NotFoundError is the absence of a key.
type NotFoundError struct {
	Bucket, Key string
	// Context is what the read has seen, a deletion for example; give it to
	// the put that writes the key anew. Empty where the key never was.
	Context string
}

// Error implements error.
func (e *NotFoundError) Error() string {
	return fmt.Sprintf("client: %s/%q not found", e.Bucket, e.Key)
}

// Is makes errors.Is(err, ErrNotFound) hold.
func (e *NotFoundError) Is(target error) bool { return target == ErrNotFound }

// Error is the failure of a call that was sent at least once.
type Error struct {
	// Op is "get", "previous", "put", "delete", "add", "keys", "batch", "explain", "cluster", "hints", "replay",
	// "convergence", "repair", "repair-status", "leave", "remove", "replace",
	// "plan", "safe-to-stop", "buckets", "bucket", "create-bucket" or
	// "drop-bucket".
	Op string
	// Bucket and Key are empty for a call that is about no key, Key alone for a
	// batch as a whole.
	Bucket, Key string
	// Attempts is how often the request was sent.
	Attempts int
	// MaybeApplied is set when an attempt of a write, or of a change of the
	// members or of a bucket, may have taken effect.
	// When it is not set, nothing has happened.
	MaybeApplied bool
	// Err is the last attempt's error: a [*Problem] where the server
	// answered, else it wraps [ErrUnreachable] or the context's error.
	Err error
}

// Error implements error.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString("client: " + e.Op)
	switch {
	case e.Bucket != "" && e.Key == "":
		b.WriteString(" " + e.Bucket)
	case e.Bucket != "":
		fmt.Fprintf(&b, " %s/%q", e.Bucket, e.Key)
	}
	if e.Attempts > 1 {
		fmt.Fprintf(&b, " after %d attempts", e.Attempts)
	}
	fmt.Fprintf(&b, ": %v", e.Err)
	switch {
	case e.MaybeApplied && e.Bucket == "":
		b.WriteString(" (the change may have been made; asking again does no harm)")
	case e.MaybeApplied:
		b.WriteString(" (the write may have been applied)")
	case e.Op == "put" || e.Op == "delete":
		b.WriteString(" (nothing was written)")
	case e.Op == "add":
		b.WriteString(" (nothing was added)")
	}
	return b.String()
}

// Unwrap gives the last attempt's error.
func (e *Error) Unwrap() error { return e.Err }

// MaybeApplied tells of an error from Put, Delete, Add or Update whether the write
// may have happened all the same.
func MaybeApplied(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.MaybeApplied
}

// Problem is an error that the server answered (RFC 9457).
type Problem struct {
	// Type is the stable name, for example "/problems/quorum".
	Type   string
	Title  string
	Status int
	Detail string
	// Required and Received count replicas, for a failed quorum.
	Required, Received int
	// Replicas are those that failed, for a failed quorum.
	Replicas []ReplicaError
	// LostPartitions and AtRiskPartitions are those that a refused change of
	// the members would leave without a complete copy, or with fewer than a
	// quorum: the first thousand, where there are more.
	LostPartitions, AtRiskPartitions []int
	// MaybeApplied is what the server said of a write; where it said nothing
	// and the status leaves the outcome open (500, 502, 504), it is set.
	MaybeApplied bool
	// RetryAfter is how long the server asked to wait; 0 if it did not.
	RetryAfter time.Duration
}

// ReplicaError is why one replica did not count.
type ReplicaError struct {
	Node  string `json:"node"`
	Error string `json:"error"`
}

// Error implements error.
func (p *Problem) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "status %d", p.Status)
	title := p.Title
	if title == "" {
		title = http.StatusText(p.Status)
	}
	for _, s := range []string{title, p.Detail} {
		if s != "" {
			b.WriteString(": " + s)
		}
	}
	if p.Required > 0 {
		fmt.Fprintf(&b, " (%d of %d required replicas)", p.Received, p.Required)
	}
	return b.String()
}

// ProblemPrecondition is the type of the answer to a change of the members that
// the state of the cluster forbids. Nothing has changed.
const ProblemPrecondition = "/problems/precondition"

// problemAbsent is the type of a 404 that is about the key and not, as that of
// a server that is no Starling node, about the path.
const problemAbsent = "/problems/key-not-found"

// problem reads an error answer, of a Starling node or of whatever stands
// before it. now dates a Retry-After that is a date.
func (a *answer) problem(now time.Time) *Problem {
	var doc struct {
		Type         string         `json:"type"`
		Title        string         `json:"title"`
		Detail       string         `json:"detail"`
		Required     int            `json:"required"`
		Received     int            `json:"received"`
		Replicas     []ReplicaError `json:"replicas"`
		MaybeApplied *bool          `json:"maybe_applied"`
		Lost         []int          `json:"lost_partitions"`
		AtRisk       []int          `json:"at_risk_partitions"`
	}
	p := &Problem{Status: a.status, RetryAfter: retryAfter(a.header.Get("Retry-After"), now)}
	said := strings.HasPrefix(a.header.Get("Content-Type"), "application/problem+json") && json.Unmarshal(a.body, &doc) == nil
	if said {
		p.Type, p.Title, p.Detail = doc.Type, doc.Title, doc.Detail
		p.Required, p.Received, p.Replicas = doc.Required, doc.Received, doc.Replicas
		p.LostPartitions, p.AtRiskPartitions = doc.Lost, doc.AtRisk
	}
	switch {
	case said && doc.MaybeApplied != nil:
		p.MaybeApplied = *doc.MaybeApplied
	case a.status == http.StatusServiceUnavailable:
		// A node's own 503 says so where the outcome is open; any other
		// server's says nothing of the node behind it.
		p.MaybeApplied = !said
	case a.status == http.StatusInternalServerError, a.status == http.StatusBadGateway, a.status == http.StatusGatewayTimeout:
		p.MaybeApplied = true
	}
	return p
}

// retryAfter reads seconds or an HTTP date; 0 for neither and for the past.
func retryAfter(s string, now time.Time) time.Duration {
	if n, err := strconv.Atoi(s); err == nil && n > 0 {
		return time.Duration(min(n, 3600)) * time.Second
	}
	if t, err := http.ParseTime(s); err == nil && t.After(now) {
		return t.Sub(now)
	}
	return 0
}
