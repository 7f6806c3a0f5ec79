package coordinator

import (
	"context"
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"starling/ring"
)

// The requests that one replica sends another.
const (
	opRead = iota
	opReplicate
	opForward
	opList
	opReadBatch
	opReplicateBatch
	opForwardBatch
	numOps
)

var opNames = [numOps]string{"read", "replicate", "forward", "list", "read_batch", "replicate_batch", "forward_batch"}

// The results that replica requests and failed quorums are counted by.
const (
	resultOK = iota
	resultUnreachable
	resultStaleRing
	resultTimeout
	resultCanceled
	resultUnknown
	resultOverloaded
	resultOther
	numResults
)

var resultNames = [numResults]string{"ok", "unreachable", "stale_ring", "timeout", "canceled", "unknown", "overloaded", "error"}

func resultOf(err error) int {
	switch {
	case err == nil:
		return resultOK
	case errors.Is(err, ErrStaleRing):
		return resultStaleRing
	case errors.Is(err, ErrUnreachable):
		return resultUnreachable
	case errors.Is(err, context.Canceled):
		return resultCanceled
	case errors.Is(err, context.DeadlineExceeded):
		return resultTimeout
	case errors.Is(err, ErrOverloaded):
		return resultOverloaded
	case errors.Is(err, ErrUnknown):
		return resultUnknown
	default:
		return resultOther
	}
}

type metrics struct {
	requests  *prometheus.CounterVec
	durations *prometheus.HistogramVec
	failures  *prometheus.CounterVec

	breakers *prometheus.GaugeVec
	openings *prometheus.CounterVec

	placedAnew, hedges, hedgesDenied           prometheus.Counter
	hintsPlaced, hintsLost, stoodIn            prometheus.Counter
	standstills, listRows                      prometheus.Counter
	repairsDone, repairsFailed, repairsDropped prometheus.Counter

	peerName func(ring.NodeID) string
}

// peerMetrics are the resolved handles of one peer: the request path does no
// label look-up.
type peerMetrics struct {
	results  [numOps][numResults]prometheus.Counter
	duration [numOps]prometheus.Observer
	breaker  prometheus.Gauge
	opened   prometheus.Counter
}

func newMetrics(reg prometheus.Registerer, peerName func(ring.NodeID) string) (*metrics, error) {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	repairs := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "starling_read_repairs_total",
		Help: "Stale owners that gets found, by what became of their repair."}, []string{"result"})
	m := &metrics{
		peerName: peerName,
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "starling_replica_requests_total",
			Help: "Requests sent to other replicas, by peer, operation and result."}, []string{"peer", "op", "result"}),
		durations: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "starling_replica_request_duration_seconds",
			Help:                        "Time from sending a replica request to its answer, by peer and operation.",
			Buckets:                     prometheus.ExponentialBuckets(0.0001, 2, 16),
			NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 100, NativeHistogramMinResetDuration: time.Hour}, []string{"peer", "op"}),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "starling_quorum_failures_total",
			Help: "Requests that did not reach their quorum, by operation and reason."}, []string{"op", "reason"}),
		placedAnew: counter("starling_requests_placed_anew_total",
			"Requests that were placed again because a replica had another ring."),
		hedges: counter("starling_hedged_reads_total",
			"Times a get asked one more replica because one was slower than it almost always is."),
		hedgesDenied: counter("starling_hedges_denied_total",
			"Times a get would have hedged and the budget was used up."),
		hintsPlaced: counter("starling_hints_placed_total",
			"Writes that another node, or this one, keeps for a replica that did not take them."),
		hintsLost: counter("starling_hints_unplaced_total",
			"Hints that nobody took. A put that was not answered yet then fails; else the replica is repaired by reads and anti-entropy."),
		stoodIn: counter("starling_puts_without_owner_total",
			"Puts that this node took in place of owners none of which could be reached."),
		standstills: counter("starling_standstills_total",
			"Times the process stood still for half a second or more; puts that came meanwhile were refused."),
		listRows: counter("starling_list_rows_read_total",
			"Rows that this node read for listings of keys, its own clients' and others', deleted and expired ones among them."),
		breakers: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "starling_peer_breaker",
			Help: "Breaker of a peer: 0 closed, 1 half open, 2 open."}, []string{"peer"}),
		openings: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "starling_peer_breaker_opened_total",
			Help: "Times the breaker of a peer opened."}, []string{"peer"}),
		repairsDone:    repairs.WithLabelValues("done"),
		repairsFailed:  repairs.WithLabelValues("failed"),
		repairsDropped: repairs.WithLabelValues("dropped"),
	}
	if reg == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.requests, m.durations, m.failures, m.placedAnew, m.hedges, m.hedgesDenied,
		m.hintsPlaced, m.hintsLost, m.stoodIn, m.standstills, m.listRows, m.breakers, m.openings, repairs} {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// peer resolves the handles of one peer.
func (m *metrics) peer(id ring.NodeID) *peerMetrics {
	name := m.peerName(id)
	p := &peerMetrics{breaker: m.breakers.WithLabelValues(name), opened: m.openings.WithLabelValues(name)}
	for op := range numOps {
		p.duration[op] = m.durations.WithLabelValues(name, opNames[op])
		for r := range numResults {
			p.results[op][r] = m.requests.WithLabelValues(name, opNames[op], resultNames[r])
		}
	}
	return p
}

// failure counts a request that failed and hands its error on.
func (m *metrics) failure(op string, err error) error {
	if err == nil {
		return nil
	}
	var q *QuorumError
	reason := resultNames[resultOf(err)]
	switch {
	case errors.Is(err, ErrNotVisible):
		reason = "not_visible"
	case errors.Is(err, ErrHintsFull):
		reason = "hints_full"
	case errors.Is(err, ErrTooFewOwners):
		reason = "too_few_owners"
	case errors.Is(err, ErrGone):
		reason = "gone"
	case errors.As(err, &q) && q.Timeout:
		reason = "timeout"
	}
	m.failures.WithLabelValues(op, reason).Inc()
	return err
}
