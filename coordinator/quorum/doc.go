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
// One goroutine owns a core. Every replica that [Get.Ask] names is asked once
// and its answer, or its failure, is reported once; a second report about a
// replica is ignored, so an answer that comes after a timeout does no harm.
//
// # Invariants
//
//  1. A put is done only when the coordinating replica's own copy is durable
//     and W + extra replicas of the union acknowledged: then at least W of
//     them are owners of today's ring, and W of tomorrow's (package ring has
//     the argument).
//  2. A get is done only when R owners answered, and the merge of their
//     answers has everything that the reader's session context has seen.
//  3. A verdict once reached does not change.
//  4. Replicas that a verdict calls stale answered with less than the merged
//     object; no other replica is repaired.
//
// The split into core and shell follows the get and put cores of Riak KV; the
// quorum arithmetic is section 4.5 of the Dynamo paper (DeCandia et al., 2007).
package quorum
