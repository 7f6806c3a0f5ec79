// Package health is the model of one peer as a node meets it: how long its
// answers take, how many calls are under way, and a breaker that says whether
// to call it at all. The choice of replicas, hedges, fallbacks and forwards all
// ask the same model, so that what one of them learned the others know.
//
// It is a pure core: events and the time go in, decisions come out.
//
// # Duties of the caller
//
//   - One call at a time to a [Peer] or a [Budget]: there is no lock inside.
//   - Every [Peer.Begin] is followed by one [Peer.End], whose took is the time
//     between the two. A call may be made to a peer that is not usable; it is
//     reported like any other.
//   - Every [Peer.ProbeDue] that answered true is followed by one [Peer.Probed],
//     within a timeout of the caller's (about a second).
//   - Times never run backwards by more than the jitter between goroutines that
//     read the clock before they got the lock.
//
// # The breaker
//
//	            Unreachable, Lost, or a failed probe
//	   ┌────────────────────────────────────────────┐
//	   │                                            ▼
//	Closed ◀──── an answer ──── HalfOpen ◀──────── Open ◀─┐ failed probe:
//	                               │     probe ok   ▲  └──┘ pause doubles
//	                               └────────────────┘
//	                        failure, or three trials expired
//
// Two opinions about a peer come together in [Peer.Usable]: this node's own
// calls and the failure detector's. Each may be wrong. An own failure closes
// the door at once, whatever the detector says; a detector's suspicion does so
// only when the peer has not answered this node itself for a while.
//
// # Invariants
//
//  1. A peer whose breaker is open is never usable, and one that is half open
//     is usable only while no trial call is under way.
//  2. Of the calls that were under way when the breaker opened, none moves it to
//     Open again: failures that come together count as one. Only a call begun
//     after the peer last answered a probe can open it once more.
//  3. A breaker leaves Open through a successful probe alone, and HalfOpen for
//     Closed only through the answer to a call. So a peer that answers pings and
//     nothing else gets one trial at a time, at pauses that grow to
//     [Config.MaxBackoff].
//  4. The pause before the first probe falls back to [Config.FirstProbe] only
//     after the breaker was closed for [Config.Steady] on end.
//  5. At most one probe is under way, and an open breaker always has one under
//     way or due within MaxBackoff: a peer that is well again is found without
//     traffic.
//  6. A wait that the caller ended itself is never taken for an answer: it can
//     raise the estimates of latency, not lower them.
//  7. An estimate that had no news for [Config.Stale] falls towards zero, so
//     that a peer that was slow is asked again some time.
//  8. A [Budget] never allows more than its share of what was earned, plus its
//     burst.
//
// The breaker follows Nygard, "Release It!" (2007); to order peers by latency
// times load is the cost function of Finagle's Peak EWMA balancer; hedges after
// the 95th percentile, within a budget, are from Dean and Barroso, "The Tail at
// Scale" (2013).
package health
