package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"starling/coordinator"
	"starling/store"
	"starling/store/bucket"
	"starling/store/bucket/resolve"
	"starling/store/object"
)

// logBuffer collects a log.
type logBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// TestErrors: every error of the cluster has its answer for a read and for a
// write, and says whether the write may have been applied.
func TestErrors(t *testing.T) {
	var log logBuffer
	f := serve(t, func(o *Options) { o.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
	f.declare("counters", bucket.Properties{Mode: bucket.Counter})
	quorum := func(change func(*coordinator.QuorumError)) error {
		q := &coordinator.QuorumError{Op: "put", Required: 2, Received: 1, MaybeApplied: true, Causes: []coordinator.ReplicaError{
			{Node: nodeID(3), Err: fmt.Errorf("%w: dial tcp 127.0.0.1:4731: connection refused", coordinator.ErrUnreachable)},
			{Node: nodeID(4), Err: errors.New("secret: internals")},
			{Node: nodeID(5), Err: fmt.Errorf("%w: secret block 7", store.ErrCorrupt)},
		}}
		change(q)
		return fmt.Errorf("wrapped: %w", q)
	}
	const none = "not shown" // of maybe_applied
	tests := []struct {
		name               string
		err                error
		readStatus, status int
		slug               string
		readMaybe, maybe   any
		retryable          bool
		words              []string
	}{
		{"invalid", fmt.Errorf("%w: w=3 of 2 owners", coordinator.ErrInvalid), 400, 400, "invalid-request", none, none, false, []string{"w=3 of 2 owners"}},
		{"invalid at a store", fmt.Errorf("%w: key too long", store.ErrInvalid), 400, 400, "invalid-request", none, none, false, []string{"key too long"}},
		{"too many siblings", object.ErrTooManySiblings, 0, 409, "too-many-siblings", none, none, false, []string{"nothing was written"}},
		{"too large", fmt.Errorf("%w: 9 bytes", object.ErrTooLarge), 0, 409, "siblings-too-large", none, none, false, nil},
		{"a stamp in the future", fmt.Errorf("%w: the newest value is stamped 48h0m0s ahead", resolve.ErrFuture), 0, 409, "stamp-in-future", none, none, false, []string{"nothing was written", "48h0m0s ahead", "clocks"}},
		{"a value that does not fit", fmt.Errorf("%w: not JSON", resolve.ErrUnfit), 0, 422, "value-does-not-fit", none, none, false, []string{"nothing was written", "not JSON"}},
		{"out of range", fmt.Errorf("%w: it would be 9223372036854775808", resolve.ErrRange), 0, 422, "counter-out-of-range", none, none, false, []string{"9223372036854775808", "Nothing was added"}},
		{"a busy counter", fmt.Errorf("%w: 8192, at most 8192", resolve.ErrBusy), 0, 503, "counter-busy", none, false, true, []string{"15 s", "Nothing was written"}},
		{"not visible", fmt.Errorf("%w: 3 owners", coordinator.ErrNotVisible), 412, 0, "context-not-visible", none, none, true, nil},
		{"disk full", fmt.Errorf("coordinator: %w", store.ErrDiskFull), 0, 507, "disk-full", none, false, true, []string{"Nothing was written"}},
		{"disk full, perhaps after the write", fmt.Errorf("%w: %w", coordinator.ErrUnknown, store.ErrDiskFull), 0, 507, "disk-full", none, true, true, []string{"may have been applied"}},
		{"stale ring", coordinator.ErrStaleRing, 503, 503, "ring-changing", false, false, true, nil},
		{"not ready", coordinator.ErrNotReady, 503, 503, "not-ready", false, false, true, []string{"another node"}},
		{"store closed", store.ErrClosed, 503, 503, "not-ready", false, false, true, nil},
		{"overloaded", coordinator.ErrOverloaded, 503, 503, "overloaded", false, false, true, nil},
		{"unreachable", coordinator.ErrUnreachable, 503, 503, "unreachable", false, false, true, nil},
		{"unknown", fmt.Errorf("%w: stream reset", coordinator.ErrUnknown), 503, 503, "outcome-unknown", false, true, true, nil},
		{"deadline", fmt.Errorf("get: %w", context.DeadlineExceeded), 504, 504, "deadline-exceeded", false, true, true, nil},
		{"cancelled", context.Canceled, 503, 503, "canceled", false, true, true, nil},
		{"corrupt", fmt.Errorf("%w: /secret/path block 7", store.ErrCorrupt), 500, 500, "replica-corrupt", false, false, true, nil},
		{"unexpected", errors.New("secret: nil pointer at 0xdead"), 500, 500, "internal", false, true, true, nil},
		{"quorum", quorum(func(*coordinator.QuorumError) {}), 503, 503, "quorum-not-reached", false, true, true,
			[]string{"1 of 2 required replicas", "n3: peer unreachable: dial tcp 127.0.0.1:4731: connection refused.", "n4: internal error.", "n5: internal error."}},
		{"quorum, nothing done", quorum(func(q *coordinator.QuorumError) { q.MaybeApplied, q.Received, q.Causes = false, 0, nil }), 503, 503, "quorum-not-reached", false, false, true,
			[]string{"0 of 2 required replicas"}},
		{"quorum by deadline", quorum(func(q *coordinator.QuorumError) { q.Timeout = true }), 504, 504, "deadline-exceeded", false, true, true,
			[]string{"before the deadline"}},
		{"quorum of full disks", quorum(func(q *coordinator.QuorumError) {
			q.Causes = []coordinator.ReplicaError{{Node: nodeID(9), Err: store.ErrDiskFull}, {Node: nodeID(3), Err: fmt.Errorf("%w: x", store.ErrDiskFull)}}
		}), 0, 507, "disk-full", nil, true, true, []string{nodeID(9).String(), "n3: disk full"}},
		{"no room for hints", fmt.Errorf("node: %w", coordinator.ErrHintsFull), 503, 503, "hints-full", false, false, true, []string{"lower consistency"}},
		{"quorum without room for hints", quorum(func(q *coordinator.QuorumError) {
			q.Causes[1].Err = fmt.Errorf("rpc: %w", coordinator.ErrHintsFull)
		}), 0, 503, "hints-full", nil, true, true, []string{"1 of 2 required replicas", "n4: the room for hints is used up."}},
		{"quorum without room for hints by deadline", quorum(func(q *coordinator.QuorumError) {
			q.Timeout, q.Causes[1].Err = true, coordinator.ErrHintsFull
		}), 0, 504, "deadline-exceeded", nil, true, true, nil},
		{"quorum of one full disk", quorum(func(q *coordinator.QuorumError) { q.Causes[1].Err = store.ErrDiskFull }), 503, 503, "quorum-not-reached", false, true, true, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := *f
			f.t = t
			f.kv.onGet = func(context.Context, coordinator.GetRequest) (coordinator.GetResult, error) {
				return coordinator.GetResult{}, tt.err
			}
			f.kv.onPut = func(context.Context, coordinator.PutRequest) (coordinator.PutResult, error) {
				return coordinator.PutResult{}, tt.err
			}
			check := func(a *answer, status int, maybe any) {
				t.Helper()
				doc := a.wantProblem(status, tt.slug, tt.words...)
				if got, ok := doc["maybe_applied"]; (ok || maybe != none) && got != maybe {
					t.Errorf("maybe_applied %v, want %v", got, maybe)
				}
				if doc["retryable"] != tt.retryable {
					t.Errorf("retryable %v", doc["retryable"])
				}
				if (a.header.Get("Retry-After") != "") != (status == 503) {
					t.Errorf("Retry-After %q", a.header.Get("Retry-After"))
				}
				if strings.Contains(string(a.body), "secret") {
					t.Errorf("the answer tells internals: %s", a.body)
				}
				var q *coordinator.QuorumError
				if errors.As(tt.err, &q) != (doc["required"] != nil && doc["received"] != nil && doc["replicas"] != nil) {
					t.Errorf("%s", a.body)
				}
			}
			if tt.readStatus != 0 {
				check(f.do("GET", testKey, ""), tt.readStatus, tt.readMaybe)
				f.do("HEAD", testKey, "").want(tt.readStatus)
			}
			if tt.status != 0 {
				check(f.do("PUT", testKey, "v"), tt.status, tt.maybe)
				if tt.status != 422 { // which is about a value
					check(f.do("DELETE", testKey, ""), tt.status, tt.maybe)
				}
				check(f.do("POST", "/v1/buckets/counters/keys/k/add", `{"delta":1}`), tt.status, tt.maybe)
			}
		})
	}
	for _, words := range []string{"secret: nil pointer at 0xdead", "/secret/path block 7"} {
		if !strings.Contains(log.String(), words) {
			t.Errorf("the log does not have %q", words)
		}
	}
}

// TestPlainText: error texts are cut to something that can be shown.
func TestPlainText(t *testing.T) {
	for _, tt := range [][2]string{
		{"coordinator: peer unreachable: dial", "peer unreachable: dial"},
		{"rpc: coordinator: outcome unknown: a: b", "outcome unknown: a: b"},
		{"one\ntwo\xff", "one two "},
		{strings.Repeat("é", 200), strings.Repeat("é", 100) + "…"},
		{"x" + strings.Repeat("é", 200), "x" + strings.Repeat("é", 99) + "…"},
	} {
		if got := plainText(errors.New(tt[0])); got != tt[1] {
			t.Errorf("%q: %q, want %q", tt[0], got, tt[1])
		}
	}
	if got := causeText(io.ErrUnexpectedEOF); got != "internal error" {
		t.Errorf("an unknown cause is told: %q", got)
	}
}
