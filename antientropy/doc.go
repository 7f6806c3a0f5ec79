// Package antientropy makes the replicas of a partition equal again. In this
// release it fills the partitions that a node is to own and does not yet
// hold: [Filler] at the node that is filled, [Server] at the owners.
//
// # How a partition settles
//
// A node that the ring makes a target of a partition is pending there: writes
// go to it, reads do not. It becomes an owner in this order:
//
//  1. Every live owner, and at least a majority of the owners, confirms that
//     it sees the node as pending, by answering with the same placement
//     stamp. From then on those owners refuse writes placed by an older ring,
//     so an acknowledged write has either been applied by a confirmed owner
//     already or was sent to the pending node too, under W + pending.
//  2. The node pulls the whole partition from every owner that confirmed and
//     merges it durably. A write acknowledged under the older ring is at W
//     owners, so for a majority W at one of those pulled from.
//  3. It publishes its settled bit.
//
// A pull is idempotent and its order does not matter: objects are merged. If
// anything fails between the steps nothing was claimed, and the next round
// starts over.
//
// # Invariants
//
//  1. A node sets its settled bit only for a partition for which it was
//     pending when the owners confirmed and still is.
//  2. A node that is no longer among a partition's owners clears its settled
//     bit there: from then on it does not see every write. Its copy stays.
//  3. A page of a pull holds at least one object, unless the rest is empty,
//     and is bounded in bytes, so a pull always ends.
//
// The scheme follows section 4.9 of the Dynamo paper (DeCandia et al., 2007)
// as to who sends what; settling before serving is this project's answer to
// the lost writes of stores that count a half-filled node as a replica.
package antientropy
