package api

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"

	"starling/antientropy"
	"starling/coordinator"
	"starling/coordinator/hint"
	"starling/gossip/state"
	"starling/gossip/topology"
	"starling/ring"
	"starling/store"
	"starling/store/bucket"
	"starling/store/bucket/resolve"
	"starling/store/object"
)

// The problems that come from the cluster.
var (
	kindInvalid    = kind{400, "invalid-request", "The request is not valid", false}
	kindSiblings   = kind{409, "too-many-siblings", "The key has too many siblings", false}
	kindObjectSize = kind{409, "siblings-too-large", "The key's siblings are too large together", false}
	kindRepairRuns = kind{409, "repair-running", "A repair is running", true}
	// A change of the members: what forbids it may end, as a transfer does.
	kindPrecondition = kind{409, "precondition", "The cluster is not as the change needs it", true}
	kindBatchFull    = kind{413, "batch-answer-too-large", "The answer to the batch is as large as it may be", false}
	kindUnfit        = kind{422, "value-does-not-fit", "The value does not fit the bucket's mode", false}
	kindCount        = kind{422, "counter-out-of-range", "The counter would leave its range", false}
	kindFuture       = kind{409, "stamp-in-future", "The key has a value from the future", false}
	kindCounterBusy  = kind{503, "counter-busy", "The counter remembers too many increments", true}
	kindNotVisible   = kind{412, "context-not-visible", "No replica that was reached has what the context saw", true}
	kindHintsFull    = kind{503, "hints-full", "The room for hints is used up", true}
	kindGone         = kind{503, "bucket-dropping", "The bucket is being dropped", true}
	kindDiskFull     = kind{507, "disk-full", "A disk is full", true}
	kindOverloaded   = kind{503, "overloaded", "The node is overloaded", true}
	kindStaleRing    = kind{503, "ring-changing", "The placement of the key is changing", true}
	kindNotReady     = kind{503, "not-ready", "The node is not ready to serve", true}
	kindUnreachable  = kind{503, "unreachable", "The replicas cannot be reached", true}
	kindUnknown      = kind{503, "outcome-unknown", "The outcome is not known", true}
	kindQuorum       = kind{503, "quorum-not-reached", "Too few replicas answered", true}
	kindDeadline     = kind{504, "deadline-exceeded", "The deadline passed", true}
	kindCanceled     = kind{503, "canceled", "The request was given up", true}
	kindCorrupt      = kind{500, "replica-corrupt", "A replica cannot read its copy", true}
)

// errorRow says what a caller is told about an error.
type errorRow struct {
	err    error
	kind   *kind
	detail string // what happened and what to do; the error's own text is added where tell is set
	tell   bool
	// open: a write that failed so may have been applied all the same.
	open bool
}

// errorTable is searched from the top: an error that wraps several is the
// first of them. What it does not list is kindInternal.
var errorTable = []errorRow{
	{coordinator.ErrBatchFull, &kindBatchFull, "The batch has read as many bytes as one may. Ask for this key in another batch, or alone.", false, false},
	{coordinator.ErrInvalid, &kindInvalid, "The cluster cannot do what was asked.", true, false},
	{antientropy.ErrNoPartition, &kindInvalid, "The cluster cannot do what was asked.", true, false},
	{antientropy.ErrRepairRunning, &kindRepairRuns, "This node has not ended the repair that was asked of it before. Wait for it: /v1/repair says how far it is.", false, false},
	{topology.ErrChange, &kindPrecondition, "The members cannot be changed so.", true, false},
	{state.ErrUnknownMember, &kindNoNode, "There is no such member.", true, false},
	{state.ErrInvalid, &kindPrecondition, "The members cannot be changed so.", true, false},
	{state.ErrTooManyMembers, &kindPrecondition, "The members cannot be changed so.", true, false},
	{store.ErrInvalid, &kindInvalid, "A replica cannot keep what was given.", true, false},
	{object.ErrTooManySiblings, &kindSiblings,
		"The key has as many concurrent values as one key may have, so nothing was written. Read it, and write one value with the context of that answer: that replaces them all.", false, false},
	{object.ErrTooLarge, &kindObjectSize,
		"This value and the key's other concurrent values would be larger together than one key may be, so nothing was written. Read the key, and write one value with the context of that answer.", false, false},
	{resolve.ErrUnfit, &kindUnfit, "The value cannot be merged with others in this bucket, so nothing was written.", true, false},
	{resolve.ErrRange, &kindCount, "A counter holds 64-bit integers. Nothing was added.", true, false},
	{resolve.ErrFuture, &kindFuture, "A value of this key was written by a clock far ahead, so nothing was written. Read the key, write with the context of that answer, and see to the clocks of the nodes.", true, false},
	{resolve.ErrBusy, &kindCounterBusy, "The counter remembers as many increments, to know them when they are repeated, as it may. It forgets those that are older than 15 s as soon as all nodes are up: try again later.", false, false},
	{store.ErrDiskFull, &kindDiskFull, "A replica's disk is full and takes no writes until there is space again.", false, false},
	{coordinator.ErrHintsFull, &kindHintsFull, "A replica is down and the nodes that could stand in for it keep as much for others as they may. Try again when it is back, or with a lower consistency.", false, false},
	{store.ErrCorrupt, &kindCorrupt, "A replica cannot read its copy of the key; the node's log says more. Other replicas may still answer: try again.", false, false},
	{coordinator.ErrNotVisible, &kindNotVisible,
		"No replica that could be reached has everything that the given context has seen. Try again later, or read without a context to see what there is.", false, false},
	{coordinator.ErrGone, &kindGone, "The bucket is being dropped, and this node does not know under which name it goes on. Nothing happened; try again.", false, false},
	{bucket.ErrInvalid, &kindInvalid, "The bucket cannot be changed so.", true, false},
	{coordinator.ErrStaleRing, &kindStaleRing, "The members are changing and this node's placement of the key is not yet agreed. Nothing happened; try again.", false, false},
	{coordinator.ErrNotReady, &kindNotReady, "The node has not joined the cluster yet or is about to stop. Nothing happened; try another node, or this one later.", false, false},
	{hint.ErrNotRunning, &kindNotReady, "The node has not joined the cluster yet or is about to stop. Nothing happened; try again later.", false, false},
	{antientropy.ErrNotRunning, &kindNotReady, "The node has not joined the cluster yet, is about to stop, or does not compare replicas. Nothing happened; try another node.", false, false},
	{store.ErrClosed, &kindNotReady, "The node is about to stop. Try another node.", false, false},
	{coordinator.ErrOverloaded, &kindOverloaded, "A queue is full. Nothing happened; try again later.", false, false},
	{coordinator.ErrUnreachable, &kindUnreachable, "No replica could be reached. Nothing happened; try another node, or this one later.", true, false},
	{coordinator.ErrTooFewOwners, &kindQuorum, "The key has fewer owners than must answer. Nothing happened; more nodes, or a lower consistency, would help.", true, false},
	{context.DeadlineExceeded, &kindDeadline, "The deadline passed before the outcome was known.", false, true},
	{coordinator.ErrUnknown, &kindUnknown, "The replica that coordinated the request did not say what became of it.", false, true},
	{context.Canceled, &kindCanceled, "The caller gave the request up.", false, true},
}

func rowOf(err error) *errorRow {
	for i := range errorTable {
		if errors.Is(err, errorTable[i].err) {
			return &errorTable[i]
		}
	}
	return nil
}

// problemOf tells what err means for a read or a write of a key. The log gets
// the errors that the caller is not shown.
func (s *Server) problemOf(err error, write bool, m state.Map) *problem {
	var q *coordinator.QuorumError
	if errors.As(err, &q) {
		return quorumProblem(q, write, m)
	}
	var pre *PreconditionError
	if errors.As(err, &pre) {
		return preconditionProblem(pre, m)
	}
	row := rowOf(err)
	if row == nil {
		s.opts.Logger.Error("api: unexpected error", "err", err)
		row = &errorRow{kind: &kindInternal, detail: "This node failed while serving the request; its log says why.", open: true}
	}
	if row.kind.status == 500 && row.kind != &kindInternal {
		s.opts.Logger.Error("api: "+row.kind.slug, "err", err)
	}
	p := &problem{kind: row.kind, detail: row.detail}
	if row.tell {
		p.detail += " It said: " + named(m, plainText(err)) + "."
	}
	if row.kind.status < 500 {
		return p
	}
	maybe := write && (row.open || errors.Is(err, coordinator.ErrUnknown))
	p.maybeApplied = &maybe
	p.detail += outcome(write, maybe)
	return p
}

// outcome says what became of the write, and what to do about it.
func outcome(write, maybe bool) string {
	switch {
	case !write:
		return ""
	case maybe:
		return " The write may have been applied at some replicas, and then it will reach the others: read the key, or repeat the write with the same Idempotency-Key."
	default:
		return " Nothing was written."
	}
}

// quorumProblem is a failed quorum: 504 if the deadline ended the wait, 507 if
// all the replicas that failed have a full disk, else 503, of a kind of its
// own where room for hints was missing.
func quorumProblem(q *coordinator.QuorumError, write bool, m state.Map) *problem {
	k := &kindQuorum
	switch {
	case q.Timeout:
		k = &kindDeadline
	case allDisksFull(q.Causes):
		k = &kindDiskFull
	case errors.Is(q, coordinator.ErrHintsFull):
		k = &kindHintsFull
	}
	maybe := write && q.MaybeApplied
	report := &quorumReport{Required: q.Required, Received: q.Received, Replicas: []replicaProblem{}}
	var b strings.Builder
	verb, when := "answered the read", ""
	if write && q.Op != "get" {
		verb = "acknowledged the write"
	}
	if q.Timeout {
		when = " before the deadline"
	}
	fmt.Fprintf(&b, "%d of %d required replicas %s%s.", q.Received, q.Required, verb, when)
	for _, c := range q.Causes {
		r := replicaProblem{Node: nodeName(m, c.Node), Error: named(m, causeText(c.Err))}
		report.Replicas = append(report.Replicas, r)
		fmt.Fprintf(&b, " %s: %s.", r.Node, r.Error)
	}
	b.WriteString(outcome(write, maybe))
	if !write {
		b.WriteString(" Try again, or ask for a lower consistency.")
	}
	return &problem{kind: k, detail: b.String(), maybeApplied: &maybe, quorum: report}
}

func allDisksFull(causes []coordinator.ReplicaError) bool {
	for _, c := range causes {
		if !errors.Is(c.Err, store.ErrDiskFull) {
			return false
		}
	}
	return len(causes) > 0
}

// causeText is what a caller may know of a replica's error: the text of those
// that the table lists, and no more than that it failed of any other.
func causeText(err error) string {
	row := rowOf(err)
	if row == nil || row.kind.status == 500 {
		return "internal error"
	}
	return plainText(err)
}

// Bounds of the text of an error in an answer: of one among several, and of
// the one that names members to choose among.
const (
	maxCauseBytes  = 200
	maxReasonBytes = 4000
)

// plainText is the text of an error without the package names that its parts
// begin with, cut to one line of maxCauseBytes.
func plainText(err error) string { return plainTextWithin(err, maxCauseBytes) }

func plainTextWithin(err error, maxBytes int) string {
	parts := strings.Split(err.Error(), ": ")
	kept := parts[:0]
	for _, p := range parts {
		switch p {
		case "antientropy", "coordinator", "store", "object", "ring", "rpc", "wire", "state", "version", "hint", "topology", "gossip", "node", "api", "bucket", "resolve":
		default:
			kept = append(kept, p)
		}
	}
	text := strings.Map(func(r rune) rune {
		if r < ' ' || r == utf8.RuneError {
			return ' '
		}
		return r
	}, strings.Join(kept, ": "))
	if len(text) <= maxBytes {
		return text
	}
	cut := maxBytes
	for !utf8.RuneStart(text[cut]) {
		cut--
	}
	return text[:cut] + "…"
}

// nodeIDText is how a node's ID stands in the text of an error.
var nodeIDText = regexp.MustCompile(`\b[0-9a-f]{32}\b`)

// named puts names in the place of the IDs of nodes that the map knows.
func named(m state.Map, text string) string {
	return nodeIDText.ReplaceAllStringFunc(text, func(s string) string {
		id, err := ring.ParseNodeID(s)
		if err != nil {
			return s
		}
		return nodeName(m, id)
	})
}

// nodeName is a member's name, or its ID where the map does not know it.
func nodeName(m state.Map, id ring.NodeID) string {
	if mem, ok := m.Member(id); ok && mem.Name != "" {
		return mem.Name
	}
	return id.String()
}
