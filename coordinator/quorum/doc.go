// Package quorum holds the decision cores of a put and a get: pure state
// machines that are told what replicas answered and say what to do next.
// They know no clock, socket or goroutine; package coordinator owns those.
//
// A partition has owners, which vote, and while the ring changes it has extra
// replicas: pending ones, which are being filled, and displaced ones, which
// were owners until now. All are numbered here: owners from 0, extra ones
// after them.
//
// # Duties of the caller
//
// One goroutine owns a core. Every node that [Get.Ask] names is asked once
// and its answer, or its failure, is reported once; a second report about a
// node is ignored, so an answer that comes after a timeout does no harm. For a
// replica that fails a put, the caller seeks a node that keeps a hint and
// reports the outcome. Each hint that counts is at a node of its own, one
// that holds no other copy of the put: else W votes would not be W nodes.
//
// # Invariants
//
//  1. A put is done only when the coordinator's own copy is durable and
//     W + extra replicas of the union acknowledged: then at least W of
//     them are owners of today's ring, and W of tomorrow's (package ring has
//     the argument). In a sloppy put a hint stands for the replica that it is
//     meant for; PW is about owners alone.
//  2. Where hints are kept, a put is not done while a replica that failed has
//     none, so that what was acknowledged reaches every replica. If nobody
//     takes the hint, the put fails.
//  3. A get is done only when R nodes voted, PR of them owners, and the merge of
//     their answers has everything that the reader's session context has
//     seen. A fallback votes only with what it holds.
//  4. A verdict once reached does not change.
//  5. Replicas that a verdict calls stale answered with less than the merged
//     object; no other replica is repaired, and no fallback ever is.
//
// The split into core and shell follows the get and put cores of Riak KV; the
// quorum arithmetic and the hints are sections 4.5 and 4.6 of the Dynamo paper
// (DeCandia et al., 2007).
package quorum
