// Package coordinator carries out puts and gets over the replicas of a key:
// it fans them out, lets the cores of package quorum decide, answers, and
// repairs stale replicas in the background. It is also the replica's side of
// the same requests ([Replica]), because both obey the same placement rule.
//
// # What it owes
//
//   - A put that returns nil is on disk at the coordinating replica and at
//     W + extra (pending or displaced) replicas in all; a refused put ([ErrStaleRing],
//     [ErrNotReady], [ErrUnreachable], a store's refusal before any copy was
//     made) left nothing behind; everything else says MaybeApplied.
//   - A get that returns nil merged R owners' copies and is not older than the
//     session context it was given.
//
// # What it is owed
//
//   - The caller's context bears a deadline. A put goes on to the remaining
//     replicas after it was answered, so it uses the deadline but not the
//     cancellation of that context.
//   - Objects and requests are not changed by anyone after they were passed.
//
// # Invariants
//
//  1. No copy is written under a placement that this node knows to be old:
//     the stamp is compared and the copy applied under one gate, and a new
//     view takes effect between two such sections, never during one. So when
//     [Coordinator.SetView] returns, no write placed by an older view can
//     still reach this node's store.
//  2. A put mints its dot at one replica, an owner; the other replicas get
//     the whole object. A put that must be repeated keeps its operation ID, so
//     the same replica answers with the same dot, and two replicas' stampings
//     are shown as one sibling.
//  3. A put is forwarded at most once: a forwarded put that lands on a node
//     which is no owner is refused, never passed on.
//  4. Every goroutine that a request starts ends by the request's deadline,
//     and Run waits for all of them.
//
// Sections 4.4 to 4.6 of the Dynamo paper (DeCandia et al., 2007) describe
// the scheme; the put's dotted version vectors are those of Preguiça et al.,
// "Dotted Version Vectors: Logical Clocks for Optimistic Replication" (2010).
package coordinator
