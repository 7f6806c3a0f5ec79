// Package store is one replica: the objects of the partitions that a node
// holds, on a Pebble database in one directory. A key's read, merge and write
// are one atomic step, the Merkle leaves of anti-entropy change in the same
// step, and an actor that could have forgotten a write never mints again.
//
// # What it owes
//
//   - A write is visible when Put, Update or Merge returns, and under [Sync] it
//     survives a crash of the machine once its Wait has returned nil. That
//     holds for a write that changed nothing too, and for hints.
//   - A hint stays until DropHint deletes it as it is; one that has changed
//     since it was delivered is not deleted. Hints never take more room than
//     they were given: what does not fit is refused.
//   - A dot is never minted twice, whatever crashes, restores and copies of
//     the directory came between; nor one that a vector of the key covers
//     which the store ever handed out, be the key purged since or not.
//   - A purge deletes the very object that it was asked for, or nothing: a put
//     that comes first stays, and the purge says so.
//   - A row that cannot be read is an error, never an absent key.
//   - A failed log write ends the process ([Options.OnFatal]). A full disk
//     does not: puts answer [ErrDiskFull] until there is space again, reads go
//     on, and nothing needs to be restarted.
//
// # What it is owed
//
//   - Refs name the partition that the key falls into; objects that are passed
//     in are not changed afterwards, nor are those that come out.
//   - [Store.Vouch] is called once a peer knows of no later boot of this store.
//   - The partitions that [Options.OnAmnesia] names are dropped and filled
//     from their other replicas.
//   - DropHint is called with the hash of an object that is durable where it
//     belongs. Who takes the absence of hints for a proof, as a purge of
//     tombstones does, has a later write synced before: a deletion that was
//     not may come undone in a crash.
//   - Purge and Prune are called with a proof that the store cannot see: that
//     no copy of the object, in a row, a hint or a message that may yet be
//     taken, holds anything that it does not know to be superseded, and that
//     what goes with a row is dead. The object itself may be anywhere.
//   - DropBucket is called for a name under which nothing is written any more,
//     at any replica: a bucket that is used again has another.
//   - Iterators are ranged over to their end or left; a loop that is never
//     finished holds up Close.
//   - What is passed to Update is a function of the object and the dot that it is
//     given: it runs under the key's lock, keeps neither, and its context claims
//     only what its sibling supersedes or holds.
//
// # Invariants
//
//  1. The key's stripe lock is held from the read of the old object until the
//     batch with the new one is in the memtable. So the writes to a key form
//     one line, and every object was merged with the one before it.
//  2. One batch holds the data row, the leaf's change newHash - oldHash, and
//     for a new key its index row; for a purged one, and for those of a dropped
//     bucket that go together, all deletions. So after any
//     crash the leaves of a partition are the sums over its data rows, and the
//     index rows name its keys.
//  3. The log holds batches in the order of their engine sequence numbers, and
//     a sync of one is a sync of all before it. The horizon is never above the
//     last batch that is known to be synced; each stripe knows its last
//     commit. So a Wait that finds nothing to write may return at once if the
//     horizon reaches the stripe's last commit, and after a sync of the log
//     otherwise: the object that it speaks of was in the log before.
//  4. A partition has at most one actor at a time. It is known to no later
//     boot except through a clean stop, and then it mints only after Vouch.
//     It is given up when the partition is dropped, when rows of it turn out
//     damaged, and when anyone knows more of its writes to a key than the
//     stored object of that key. So an actor that mints a dot for a key holds
//     every dot that it minted for that key before, or they went with a purge;
//     keys of a dropped bucket get none any more.
//  5. Sequences rise through the life of a directory: a block of them is spent
//     on disk before the first of it is given out. So no dot is covered by a
//     vector from before it, see below.
//  6. The clean mark and the kept actors are removed in the same durable step
//     that raises the boot counter, before anything is served.
//  7. A hint row has an actor of its own, which mints for no data row and for
//     no other hint. It mints again only within the boot, and only while the
//     row shows the last dot that it minted; DropHint ends its use under the
//     key's lock. For a vector claims all of an actor's writes to the key up
//     to its entry. Once a hint was delivered and deleted, the siblings are
//     with the owner alone: a row begun anew under the same actor would claim
//     them without having them, and its delivery would destroy them.
//  8. One batch holds a hint row, or its deletion, and the change of its
//     target's totals. So after any crash the totals are those of the rows,
//     and they are known without reading them. Room for a hint is taken under
//     a lock before its batch is committed, and given back after the deletion
//     was, so that no number of writers takes the hints over a bound.
//  9. A retried put is answered by a sibling that bears its operation, or by
//     what the store remembers of superseded siblings, wherever they were
//     stamped; and only if the row covers the dot that is answered.
//  10. Every goroutine of a store has ended when Close returns, and every
//     operation has: the engine is never used after it was closed.
//  11. The batch that changes an object changes its candidate row and its
//     partition's counts, if they change. So after any crash there is a row for
//     every object that could be purged, now or once a time has come, and for
//     no other; its time is that of the object, and the counts are exact. An
//     object that lives for ever under a short vector costs no row and no read.
//  12. A batch is announced to its partition before it is committed, and told of,
//     with the change of its leaf, once it can be read and before the key's lock
//     is given back. A root is added up over the leaves as they are at a moment
//     when no batch is announced and not yet told of; what is told from then on
//     is added to it. So a root in memory is that of the writes told of, which
//     are all that have returned.
//  13. The writes of hints to a partition are counted in the same way, so before
//     DropHint can take a hint away.
//
// # An actor and a purged key
//
// A purge takes with the row what the partition's actor A had minted for the
// key, A:m at most. A is not given up for that. It mints A:n next, and n > m, as
// sequences rise over purges, drops and restarts (invariant 5; m was given out,
// so its block is spent on disk, and that a deletion comes undone in a crash
// changes nothing). Two things have to hold, and do:
//
//   - Nobody takes A:n for an old write. No vector from before covers it, so the
//     purged object, wherever it comes back from, does not destroy it.
//   - A:n destroys nobody's write. The new vector claims all of A's writes to
//     the key up to n. Those after the purge are in the row. Those before were
//     all in the purged object (invariant 4), which knew them to be superseded
//     or held them dead, so to claim them is true, and only what is dead goes
//     when the two meet.
//
// The other actors in the purged vector are not claimed at all; if one of them
// is this store's own of an earlier boot or tenancy, it mints no more.
//
// When the old object comes back, in a merge or as the context of a put, it
// knows up to A:m of a row that shows less, which is what amnesia looks like
// (observe, forgot). To give A up is always safe and costs one entry in the
// vectors of the keys that are written next. It would happen to a partition
// whenever one owner has purged and another not yet, and to each client that
// puts with what it read with a 404. So the store remembers A:m of some purged
// rows, until it is closed: a claim of no more than that is no news of the key,
// one of A:m+1 is. Prune is the lesser case: the row stays, with every sibling
// in it, and what its vector no longer covers is superseded everywhere.
//
// The layout of the disk is in keys.go and meta.go. Versions follow Preguiça
// et al., "Dotted Version Vectors: Logical Clocks for Optimistic Replication"
// (2010); the replica's part of a put is section 4.4, and the Merkle leaves
// section 4.7, of the Dynamo paper (DeCandia et al., 2007).
package store
