// Package hint brings the writes that this node keeps for others to where they
// belong, once they can be taken there. It works from what is on disk: a node
// that was restarted goes on where it was, and no traffic has to wake it.
//
// # What it does
//
// [Drainer.Run] looks at the totals of the hints at every tick. For each target
// that has hints and is usable, one goroutine walks them in order, a pass. It
// keeps some deliveries under way, how many the target's answers decide, and
// all passes together share a rate of bytes. Both fall while this node is busy
// with requests of clients. A delivery that fails ends its pass; the next comes
// after a pause. What appears behind the place of a pass is taken in the next.
//
// A node that leaves the cluster cannot wait for targets that are down. Where a
// [Mover] says that this is such a node, their hints go to other members, which
// keep them as their own. [Drainer.Pending] says when none is left.
//
// # What it is owed
//
//   - [Store]: a hint that DropHint has dropped may come back after a crash, but
//     a hint never goes in any other way. Hints holds nothing of the store
//     while the body of the loop runs, which may take hours under a slow rate.
//   - [Deliverer]: nil only for what is durable elsewhere; an error that wraps
//     [ErrBusy] where a target refused because it is overloaded. It returns soon
//     after its context has ended, and tells the target that deadline, so that
//     the target does not run what nobody waits for any more.
//   - [Mover], where there is one: the same.
//
// # Invariants
//
//  1. A hint is dropped only after Deliver or Move returned nil for an object
//     with exactly that hash.
//  2. At most one pass runs for a target, with at most [Options.MaxWindow]
//     deliveries under way, each bounded by [Options.Timeout].
//  3. Within any time T all deliveries together are at most rate × (T + 100 ms)
//     bytes and one hint, where rate is at most [Options.BytesPerSecond].
//  4. While a target is usable and its hints can be read, a delivery to it begins
//     within a bounded time: pressure lowers the rate to [pace.MinBytesPerSecond] (or
//     BytesPerSecond, if that is less) and the window to 1, never to nothing.
//  5. When Run has returned, no goroutine of the drainer is left.
//  6. At most one delivery or move of a hint is under way, and it has ended here
//     before the hint is dropped. A deliverer may therefore read the placement
//     stamp after the hint was read: the hint is there still, and blocks a purge.
//  7. A hint moves only from a node that leaves, and only while its target is
//     not usable.
//
// # Why no hint is lost
//
// By invariant 1 there is one way for a hint to go, and it leaves nothing
// behind that the target's side does not hold durably:
//
//   - A crash between delivery and drop, or before the drop reached the disk,
//     leaves the hint, which is delivered again. Twice is harmless: a delivery
//     merges a whole object, dots and all, into the target's copy, and to merge
//     what is there already changes nothing. No dot is minted on the way, so no
//     sibling appears.
//   - A merge into the hint while it is under way changes its hash, and the
//     drop does nothing. The hash covers vector and dots, and a dot names its
//     content; so an equal hash is the object that was delivered. The newer
//     object goes with the next pass.
//   - An answer that comes after the timeout is one that was not heard: the
//     object may be there, the hint stays, and see above.
//   - A target that lost its disk comes back as another node, with another ID.
//     The old one stays in the cluster map, down, and its hints stay here until
//     it is removed. From then on Deliver takes them to the nodes that keep the
//     partition now, and answers nil only when all of them hold the object.
//   - A hint that cannot be read is left where it is, counted and logged. Its
//     write is at the owners that acknowledged it; anti-entropy brings it on.
//   - A move leaves the hint at the keeper, durably, before it goes here. A crash
//     in between leaves it at both, which is a delivery more. An answer that was
//     not heard may leave it at several keepers, each of which delivers it.
//
// # Why a purge sees a hint that moves
//
// A purge of tombstones looks for hints member by member, twice, and a hint must
// not slip from one that is yet to be asked to one that was. Let it move from X
// to Y. It is written at Y under the gate, and counted there, before it is
// dropped at X (1, 6). Two things can have let it be missed:
//
//   - X answered without it: it was gone from X by then, and so written at Y before
//     the fence is raised. If Y was asked before that, its count has risen when it
//     is asked again, or its boot is another one; if after, the hint was there,
//     or had been delivered by Y, as by any keeper.
//   - X answered before it had it: then it came to X later, and X's own count
//     tells, wherever it has moved since; or it came under the new fence, and
//     nothing in it is stale.
//
// The message is no different from a delivery: its stamp is read while the row is
// at X, and Y takes it under that stamp and no other. So one that is late,
// repeated, or from before the fence creates no hint at Y that the second answer
// of Y does not count or that a stale object is in.
//
// The hints are those of section 4.6 of the Dynamo paper (DeCandia et al.,
// 2007). The window follows the additive increase and multiplicative decrease
// of congestion control (Chiu and Jain, 1989), with latency as the signal.
package hint
