// Package purge decides one round of forgetting what was deleted: whom to ask
// what next, and when tombstones, expired values and the vector entries of
// retired actors may go for good. It is pure: reports go in, asks and a result
// come out; there is no goroutine, clock, randomness or I/O. Package antientropy
// carries the asks out. docs/deletes.md has the whole argument for operators.
//
// # A round
//
//	Listing    every member names its due candidates; those that all owners
//	           report alike go on
//	Verifying  every member: owners hold exactly this object, nobody else holds
//	           what it does not supersede, nobody keeps a hint
//	Fencing    the fence is raised at every member: placement stamps change
//	Proving    every member again, with the new stamps: the same answer, the
//	           same starts, no hint written in between
//	Clearing   members that are no owners delete what they hold of the keys
//	Purging    owners delete or prune
//
// Whatever goes wrong on the way ends the round, for the keys concerned or for
// all. Nothing but a higher fence is left behind by a round that ended before
// Clearing, and a deletion is right by itself, so the next round simply begins
// anew.
//
// # Why nothing older than the purged object can come back
//
// Let T be the object, X a member, B(X) the time of its first answer and F(X)
// the time it goes by the new fence. B(X) is before F(X), since the first answer
// was given under an older fence.
//
//   - A message bears a stamp that its sender read before the object was read,
//     and whoever reads an object for another does so under the asker's stamp.
//     Messages with an older stamp are refused everywhere once Proving is done.
//   - An object under a newer stamp was read at some X after F(X), from a data
//     row or a hint row. An owner's data row held T at B(X) and only grows, so
//     it was T or newer; the data rows of others are read for nobody, but for what an
//     owner was found to lack under the present stamp; see docs/deletes.md.
//   - A hint row of the key would have been there at B(X) or at the second
//     answer, or been written in between, in the same start of X: each is seen.
//   - What X had synced at F(X) includes its row and the deletion of its hints
//     as of B(X), for saving the fence syncs the same log. So no crash brings
//     an older row or hint back.
//   - The rows of members that are no owners would be the last place. They go
//     before any owner's T does, durably.
//
// T itself may come back, by a message of an owner that has yet to purge. It is
// a tombstone as before, and is purged again.
//
// # What callers owe
//
//   - A member's answers are about times at which it went by the stamp of the
//     key: they are found under the gate that writes pass too. Its hint writes
//     are read before its hints.
//   - [Round.Raised] is called once every member has saved the new fence with a
//     sync of its store, with a view and members that were read after that.
//   - [Ask.Keys] of [Clearing] and [Purging] are purged only while their stamp is
//     in force, and reported when that is durable.
//   - One goroutine owns a round. A call that timed out is reported as failed,
//     and its answer, should it come, not at all, or late: then it is ignored.
//   - Every write of an object to a store passes the gate with the stamp that
//     was read before the object. The tests show what becomes of it otherwise.
//
// # Invariants
//
//  1. No key is purged that not every member answered for twice, and no owner
//     is asked to before every other member has said that it holds nothing.
//  2. The fence is raised only if some key could be purged for all that is known.
//  3. A round is about at most [Options.MaxKeys] keys and about [Options.MaxBytes]
//     bytes of names and vectors. It judges no key that an owner's page did not
//     reach. The next round goes on behind, so that keys that cannot be purged
//     do not keep others waiting.
//  4. Whoever stands in the way is named, unless nothing waits for it.
//
// The scheme answers section 4.7 of the Dynamo paper (DeCandia et al., 2007),
// which says nothing of tombstones, and the grace periods of its successors,
// after which deleted values may return.
package purge
