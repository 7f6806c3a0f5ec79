// Package antientropy makes the replicas of a partition equal again. It fills
// the partitions that a node is to own and does not yet hold: [Filler] at the
// node that is filled, [Server] at the owners. It makes the copies go that a
// node is not to keep any more: [Parter]. And it compares the owners of each
// partition, all the time, repairs what differs, and knows when each pair was
// last proven equal: [Exchanger] at the owner that begins, [ReplicaServer] at
// the other, which also answers the first two.
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
//  2. One of these owners streams a snapshot: whole objects, page by page. Each
//     request is the credit for one page, and a stream has one page under way
//     at most. An owner that has clients lets a page wait, and makes it smaller,
//     so that what it sends keeps to a part of its pace.
//  3. The node goes through the keys of every owner that confirmed, and fetches
//     what it does not know.
//  4. It publishes its settled bit; several partitions at a time, while others
//     are still filled.
//
// Step 3 is what counts, step 2 only makes it cheap. When step 3 is over with an
// owner, the node knows all that the owner held when it confirmed: keys whose
// leaves were equal, or were listed with a vector that it has, it knew before,
// and the others it has fetched, at least as new as they were listed. It is of no
// consequence that the two differ again by then, because writes go on: what was
// written after step 1 went to this node as a pending one, and is counted as
// such. So constant writes do not hold a partition up. A write acknowledged
// under the older ring is at W owners, so for a majority W at one that
// confirmed. The documentation of package ring has the rest of the argument.
//
// # How a transfer goes on
//
// Objects are merged, in any order and any number of times. So nothing has to be
// remembered on disk for a transfer that breaks off:
//
//   - A partition of which this node has a good part, after a restart or from
//     former times, is not streamed. Step 3 ships what lacks, by the key.
//   - While the node runs it knows how far a snapshot came, and goes on behind
//     it, if need be from another owner.
//   - What was proven in step 3 holds as long as the stamp that was confirmed. A
//     round ends after some seconds, and the next one confirms again and goes on.
//   - A stamp that changes, by a ring or a fence, makes the proofs void and
//     nothing else. If anything fails nothing is claimed.
//   - Whoever drops rows of a partition that is pending here says so, by
//     FillerOptions.Prepare: all that was known of it is void.
//
// # How a partition that was lost begins again
//
// A member that is removed by force may have been the last that had settled a
// partition. Then nobody can confirm or give anything, and with step 1 above the
// partition would wait for ever. The removal is marked in the cluster map: an
// administrator gave up what is nowhere. Under that mark, and where the placement
// has no owner, another rule holds for the first of the pending nodes; see
// ring.View.Turn:
//
//  1. Every other pending node, alive or not, and every other member that is
//     alive confirms the same placement stamp.
//  2. The node goes through the keys of all who did, as it would with owners: a
//     node gives its copy of a partition that has no owner, whatever it is.
//  3. It publishes its settled bit, under that stamp. It is the owner then, and the
//     others are filled from it as ever.
//
// Nothing is hidden that is left: a write that was acknowledged went to owners,
// pending and displaced nodes of its time. Of these each that is a member still
// and has not lost its copy is asked in step 1, unless it is down and to own the
// partition no more. Who has confirmed goes by the removal, which raised the
// fence, and refuses writes of every ring before; so a write that it takes part
// in was applied before it confirmed, and its keys are gone through after that.
// Under the placement without owners none is acknowledged: a write needs an
// acknowledgement more than there are pending nodes. A pending node that is down
// holds all up, as it may have the only copy: it has to come back, or to be
// removed too. An old copy at another member that is down comes in when that is
// back, for it is not dropped before the owners lack nothing of it. Hints go to
// the pending nodes, and to the owners once there are any, as ever.
//
// Two nodes do not do so both. Say that a did under one stamp and b under another.
// A node confirms only what it goes by, and goes by no placement without owners
// once its own bit is set; so a confirmed the stamp of b before it went by its
// own, and asked b to confirm that one later. But b confirmed it before it went
// by its own, which it did when it asked a: each asked before the other.
//
// What only the removed members knew is gone, deletes too: an older value that was
// left elsewhere is read again.
//
// # How an old copy goes
//
// A node that is displaced by others gives up its vote once every owner has
// confirmed that it is one; see [Filler]. Its rows stay until [Parter] drops
// them, with one range deletion for a partition, when
//
//   - the node neither owns the partition nor is pending or displaced there, and
//     nobody is pending or displaced: the new owners are settled;
//   - under one stamp, and without any other view in between, every owner was
//     given what it lacked of the copy, durably, until its keys were gone
//     through under two salts and it lacked nothing. The copy's own keys are
//     those of the beginning, read once. One owner that does not answer
//     keeps the copy;
//   - that stamp is still in force, under the gate that writes pass.
//
// Why nothing is lost: a write goes to a node only by a view in which it is
// owner, pending or displaced, and a node that goes by another view refuses it. So
// between the first comparison and the drop nothing comes into the copy, and
// what is in it every owner has. Who goes by a newer ring already, in which this
// node is pending, gets no acknowledgement from it before it goes by that ring
// too: then the drop is refused, or came first, and the node is filled. Nobody
// counts on a copy at a node whose bit is clear.
//
// Why nothing comes back: a purge deletes what is left at former owners before
// the owners delete, and a copy that could give it back would be one that was
// read before. The Parter lists the keys of an owner under the stamp, then
// reads its own object, then pushes it under that stamp, and only if the owner
// lacked it. If the stamp is from before the fence of the purge, the push is
// refused. Else the owner held the tombstone, or something newer, when the fence
// came up: it either listed it, and what the tombstone supersedes is not
// pushed; or had purged it, and then the old copy is gone and nothing is read.
//
// A node that leaves the cluster hands its copies over in the same way, and drops
// none: its directory is given up as a whole. It is done with a partition once,
// in a placement without pending and displaced nodes in which it has no vote,
// every owner was given what it lacked under one stamp. Other views, in between
// or after that, are of no consequence. Nothing comes into the copy any more: who
// leaves is a target of nothing for good, so it is never pending again and never
// votes again. And what each owner has taken under the stamp, durably, is held
// like a write that all of them acknowledged, which the ring keeps whatever
// comes; see package ring. So nothing is done again when another member ends its
// leaving, which raises the fence. As long as the node is a member a purge
// reaches the rows that stay with it, and after that nobody asks for them. What
// was handed over is not remembered over a restart.
//
// Hints are rows of their own and stay. The actor of a dropped partition is not
// used again.
//
// # How two owners become equal
//
// Each pair of owners of a partition has one that begins. Once in an interval it
// compares roots, those of many partitions in one message. Equal roots under
// equal placement stamps prove that the two held the same at that time. Where
// they differ it
//
//  1. compares those partitions again by themselves, some in one message, for in
//     a message of many the roots are older, and sends a sketch of each tree. If
//     few leaves differ the sketch tells which, and the answer lists their keys,
//     with hash and vector;
//  2. else the answer has the digests of the inner nodes: it sends its digests of
//     the leaves below those that differ, and gets the keys of the leaves that
//     differ, page by page;
//  3. fetches what the other knows more of, pushes what the other knows less of,
//     and does both where each knows something; so of two sides of which one is
//     stale exactly the stale objects are shipped, once, in one direction;
//  4. compares the roots once more, with all others that are due: only that they
//     are equal is a proof.
//
// A partition is exchanged with one owner at a time, on both sides. Else two
// owners would ship the same objects to a third.
//
// A proof holds until the other side is seen down, or to have been restarted, or
// a comparison finds the two different, or an exchange does not end in equality.
//
// # What it is owed
//
// A stamp stands for one placement in one stretch of time: a change of the map
// that makes a node a target no more and can be taken back, such as that of a
// weight or a zone, raises the fence. Else writes that passed a pending node by
// in between could be taken for ones that it has.
//
// # Invariants
//
//  1. A node sets its settled bit only for a partition for which it was
//     pending when the owners confirmed and still is, and of which it has all
//     that each of them held then. Where there is no owner, and the partition
//     was given up, the other members stand for the owners.
//  2. A node that is no longer among a partition's owners clears its settled
//     bit there: from then on it does not see every write. Its copy stays until
//     every owner has what is in it.
//  3. What is pulled is merged under the placement stamp that it was read
//     under, so that no purge that came in between is undone.
//  4. A page of a pull holds at least one object, unless the rest is empty,
//     and is bounded in bytes, so a pull always ends. A node that is filled has
//     as many pages in its hands as it has streams, at most.
//  5. An object travels with a placement stamp that was in force before it was
//     read, in both directions, and is merged under that stamp: whoever goes by
//     another placement by then refuses it. A purge relies on this.
//  6. A pair that is said to hold was equal at its last comparison, and nothing is
//     known to have happened since that makes a node forget.
//  7. Every message is bounded, and an answer is checked against its request.
//  8. An exchange, and a transfer, goes on however busy this node is, though
//     more slowly: a transfer at a tenth of its rate at least.
//  9. No purge raises the fence while a partition has pending or displaced nodes
//     by the leader's view.
//  10. When Run has returned, nothing of its component is left running.
//
// Exchanges follow section 4.7 of the Dynamo paper (DeCandia et al., 2007), and
// filling section 4.9 as to who sends what; settling before serving is this
// project's answer to the lost writes of stores that count a half-filled node as
// a replica.
package antientropy
