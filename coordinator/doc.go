// Package coordinator carries out puts and gets over the replicas of a key:
// it fans them out, lets the cores of package quorum decide, answers, and
// repairs stale replicas in the background. For a replica that is down another
// node stands in and keeps a hint. The package is also the replica's side of the
// same requests ([Replica]), because both obey the same placement rule.
//
// # What it owes
//
//   - A put that returns nil is on disk at the node that coordinated it and at
//     W + extra (pending or displaced) replicas, or stand-ins, in all, and every
//     replica that was known to have missed it has a hint on disk; a refused put ([ErrStaleRing],
//     [ErrNotReady], [ErrUnreachable], a store's refusal before any copy was
//     made) left nothing behind; everything else says MaybeApplied.
//   - A get or put of a bucket that this node, or a replica that it heard from
//     in time, knows to be gone answers [ErrGone]; this node knows it then too,
//     unless it could not exchange maps with that replica.
//   - A get that returns nil merged R copies, of owners or of fallbacks that
//     hold something, and is not older than the session context it was given.
//   - A page of keys that [Lister.List] gives lacks no key that R owners of its
//     partition, as many as the request says, show when they are merged, up to
//     where it says that it ends. It takes a bounded amount of work; see list.go.
//   - [Coordinator.Deliver] returns nil only when the object is durable at every
//     node that its hint is for, [Coordinator.Move] only when it is durable there
//     or in the hint of another member.
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
//  2. A put mints its dot at one node, an owner, or, when no owner can be
//     reached, a stand-in within its hint; the other replicas get
//     the whole object. A put that must be repeated keeps its operation ID, so
//     the same replica answers with the same dot, and two replicas' stampings
//     are shown as one sibling.
//  3. A put is forwarded at most once: a forwarded put that lands on a node
//     which is no owner is refused, never passed on.
//  4. Every goroutine that a request starts ends by the request's deadline, or,
//     where it places the hint for a replica that failed, a bounded time after,
//     and Run waits for all of them.
//  5. A hint is taken under the same gate and stamp as a copy, and only for a
//     replica of the partition. So it counts for a write under no ring that its
//     keeper knows to be old.
//  6. The nodes that keep hints of one put are all different, and none of them
//     is a replica: W votes are W nodes. A hint kept by a replica is no vote.
//  7. Whether a request goes to a peer, and in which order, is decided by the
//     peer's health and the failure detector in one place; see peers.go.
//     Whatever they say, it never changes who owns a key.
//  8. A node that stood still mints no dot for a put that came before it went
//     on: its sender may have done it elsewhere since; see pulse.go.
//  9. A node that leaves keeps no new hint of a partition that it does not keep
//     itself: from when SetView has returned with a view that says so. Other
//     nodes' coordinators pass it over, and it refuses.
//  10. What a read answers of this node's copy was read while the placement it
//     was asked under was in force, and no drop of a copy was under way. See
//     drop.go.
//  11. Nothing is written, here or in a hint, to a bucket that this node knows to
//     be gone: the bucket is looked up under the same gate as the stamp. So once
//     [Coordinator.SetBuckets] has returned, no row of such a bucket comes to be
//     here any more. See buckets.go.
//  12. What a put becomes by the mode of its bucket is made in the step that reads
//     and writes the copy of the replica that mints its dot; everybody else merges
//     whole objects. See modes.go. No increment is minted by a stand-in, and a
//     counter forgets one only with the copies of all members. See counter.go.
//
// Sections 4.4 to 4.6 of the Dynamo paper (DeCandia et al., 2007) describe
// the scheme, hinted handoff included; the put's dotted version vectors are those of Preguiça et al.,
// "Dotted Version Vectors: Logical Clocks for Optimistic Replication" (2010).
package coordinator
