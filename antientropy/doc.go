// Package antientropy makes the replicas of a partition equal again. It fills
// the partitions that a node is to own and does not yet hold: [Filler] at the
// node that is filled, [Server] at the owners. And it compares the owners of
// each partition, all the time, repairs what differs, and knows when each pair
// was last proven equal: [Exchanger] at the owner that begins, [ReplicaServer]
// at the other.
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
// # How two owners become equal
//
// Each pair of owners of a partition has one that begins. Once in an interval it
// compares roots, those of many partitions in one message. Equal roots under
// equal placement stamps prove that the two held the same at that time. Where
// they differ it
//
//  1. compares that partition again by itself, for in a message of many the
//     roots are older, and gets the digests of the inner nodes;
//  2. sends its digests of the leaves below those that differ, and gets the keys
//     of the leaves that differ, with hash and vector, page by page;
//  3. fetches what the other knows more of, pushes what the other knows less of,
//     and does both where each knows something; so of two sides of which one is
//     stale exactly the stale objects are shipped, once, in one direction;
//  4. compares the roots once more: only that they are equal is a proof.
//
// A partition is exchanged with one owner at a time, on both sides. Else two
// owners would ship the same objects to a third.
//
// A proof holds until the other side is seen down, or to have been restarted, or
// a comparison finds the two different, or an exchange does not end in equality.
//
// # Invariants
//
//  1. A node sets its settled bit only for a partition for which it was
//     pending when the owners confirmed and still is.
//  2. A node that is no longer among a partition's owners clears its settled
//     bit there: from then on it does not see every write. Its copy stays.
//  3. What is pulled is merged under the placement stamp that it was read
//     under, so that no purge that came in between is undone.
//  4. A page of a pull holds at least one object, unless the rest is empty,
//     and is bounded in bytes, so a pull always ends.
//  5. An object travels with a placement stamp that was in force before it was
//     read, in both directions, and is merged under that stamp: whoever goes by
//     another placement by then refuses it. A purge relies on this.
//  6. A pair that is said to hold was equal at its last comparison, and nothing is
//     known to have happened since that makes a node forget.
//  7. Every message is bounded, and an answer is checked against its request.
//  8. An exchange goes on however busy this node is, though ever slower.
//  9. When Run has returned, nothing of its component is left running.
//
// Exchanges follow section 4.7 of the Dynamo paper (DeCandia et al., 2007), and
// filling section 4.9 as to who sends what; settling before serving is this
// project's answer to the lost writes of stores that count a half-filled node as
// a replica.
package antientropy
