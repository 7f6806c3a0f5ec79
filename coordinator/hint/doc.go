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
// # What it is owed
//
//   - [Store]: a hint that DropHint has dropped may come back after a crash, but
//     a hint never goes in any other way. Hints holds nothing of the store
//     while the body of the loop runs, which may take hours under a slow rate.
//   - [Deliverer]: nil only for what is durable elsewhere; an error that wraps
//     [ErrBusy] where a target refused because it is overloaded. It returns soon
//     after its context has ended, and tells the target that deadline, so that
//     the target does not run what nobody waits for any more.
//
// # Invariants
//
//  1. A hint is dropped only after Deliver returned nil for an object with
//     exactly that hash.
//  2. At most one pass runs for a target, with at most [Options.MaxWindow]
//     deliveries under way, each bounded by [Options.Timeout].
//  3. Within any time T all deliveries together are at most rate × (T + 100 ms)
//     bytes and one hint, where rate is at most [Options.BytesPerSecond].
//  4. While a target is usable and its hints can be read, a delivery to it begins
//     within a bounded time: pressure lowers the rate to [pace.MinBytesPerSecond] (or
//     BytesPerSecond, if that is less) and the window to 1, never to nothing.
//  5. When Run has returned, no goroutine of the drainer is left.
//  6. At most one delivery of a hint is under way, and it has ended here before
//     the hint is dropped. A deliverer may therefore read the placement stamp
//     after the hint was read: the hint is there still, and blocks a purge.
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
//
// The hints are those of section 4.6 of the Dynamo paper (DeCandia et al.,
// 2007). The window follows the additive increase and multiplicative decrease
// of congestion control (Chiu and Jain, 1989), with latency as the signal.
package hint
