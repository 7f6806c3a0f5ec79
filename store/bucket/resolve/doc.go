// Package resolve is what the modes of buckets do: what a put becomes at the
// replica that takes it, and what a reader sees. It is pure: no goroutine, clock,
// randomness or I/O.
//
// Objects are merged by [object.Merge] alone, in every mode and everywhere: in
// reads, read repair, hints, anti-entropy and transfers. A mode is only how a
// coordinating replica makes a sibling of a put, and how the set of siblings is
// shown. [Read] is a function of the object and the time, so replicas that hold
// the same object show the same, in whatever order, grouping and number its merges
// came. Conflicts that are resolved on reads and by their writers are section 4.4
// of the Dynamo paper (DeCandia and others, SOSP 2007).
//
// # The modes
//
//   - siblings: the living values, for their reader to resolve.
//   - lww: the newest by its stamp, of equal stamps that with the greater dot, be
//     it dead or not. A put is stamped later than all that its replica holds.
//     What it wins over is kept for a while; what its context covers is not.
//   - max, min, union, json-merge: the join of all living values that fit. A put
//     folds those that its context does not cover into its own value and supersedes
//     them; those that it covers it replaces, so a value can be corrected. What is
//     folded lives as long as the longest-lived part of it.
//   - counter: the sum of increments, below. A delete resets it.
//
// Values that do not fit, from before the bucket had its mode, are siblings beside
// the one that the mode makes, until a put covers them.
//
// Numbers compare exactly, whatever they are written like, and 1, 1.0 and 1e0 are
// one. The text of a joined value is a function of the value.
//
// # What callers owe
//
//   - Put, Add and Compact run in the step in which the object is read and
//     written (store.Store.Update), with a dot of an actor that knows all its own
//     writes to the key, and the object is updated with the context they return.
//   - A put with a context goes to a replica that knows what the context covers,
//     or is made to: or else, in mode lww, the stamp may be earlier than one that
//     the client saw, and a third value may win over it that had lost before.
//   - The size of what Put and Add return is held against the bucket's bound.
//   - Clients are answered with [Reply], not [object.Object.Reply].
//
// # Invariants
//
//  1. Read, Put and Add change nothing that they are given; what they return of a
//     put holds no memory of the object's values.
//  2. Put supersedes, beyond what the context covers, only siblings whose values
//     it folded in, that are dead, or that mode lww keeps no longer. Add
//     supersedes all counters of the object, and what is dead.
//  3. A value that fits leaves a union or another join only by a put or delete of a
//     client who had been shown a value that held it, or wrote it. Who corrects a
//     value while others add may have to do so again: what was folded elsewhere
//     before the correction arrived comes back with it.
//  4. Two stampings of one put may hold different values, as each replica folds
//     what it has. All take part in joins; a reader is spared only those with
//     equal values.
//  5. Joins are idempotent, commutative and associative. Parsing takes time and
//     memory that are linear in the length of the value, but for the sorting.
//  6. The join of valid values is valid: a put whose result would be out of
//     bounds is refused.
//
// # Counters
//
// The value of a counter is a tally: for each actor the share that it has added.
// A share is a number added without operation IDs, and a list L of operations, in
// the order in which the actor ran them. L only ever gets longer at its end, by
// its actor. A copy of the share knows L up to some length n; it remembers IDs and
// deltas from position f on, and of those before only the sum S(f) of what counts.
// An ID may stand in the lists of several actors, as a retry may reach one replica
// that does not know yet what another has run.
//
// Tallies merge share by share: the greater seq has the longer list (the actor
// never forgets: whoever holds its n-th change holds those before), the greater f
// the longer forgotten beginning. The count is the sum of the numbers, of S(f) and
// of the remembered operations, each ID once, with the smallest actor's delta.
//
// A sibling's tally is the merge of those of all siblings that it supersedes, and
// one increment. So the merge of the tallies of an object's siblings holds every
// increment whose dot the vector covers, except those that a delete or an expiry
// superseded. An actor whose share went with a delete begins a new one, with a
// greater since, and that one stays: all that the old one held had been seen by
// the delete. A delete loses to concurrent increments, with all that their
// siblings hold, as a delete loses to any concurrent write.
//
// # Forgetting operations
//
// [Compact] moves f forward. Call a run of x a position of a list where x stands.
// What is to be shown: every tally that anyone can hold counts each operation that
// it has heard of exactly once, whatever was forgotten.
//
// It is owed that no run of x begins more than [RetryForMS] after its first (T),
// that runs begin at owners alone, and that the copies are of all who may hold a
// run that others do not. Clocks that differ by d make the time shorter by d. An
// operation may go, if
//
//	(0) no copy has a share that M (below) has not, or has with another since: then
//	    a delete is on its way, and siblings that do not know of it may come,
//	(1) every owner's copy remembers x, so that a run that begins there finds it,
//	(2) each run of x in the merge M of the replica's object and all copies was
//	    added RetryForMS before the first copy was read, or earlier,
//	(3) all operations before these runs, in each of their lists, may go,
//
// and then all of its runs in M go in one step; the run of the smallest actor is
// added to the sum of its share, the others to none. That the runs are all or none
// is what shorten makes sure of, which ends a list before an operation one of
// whose runs stays, until nothing changes.
//
// M holds every run of x there will ever be. For by (2) and T no run begins after
// the copies were read (and if one does, because a clock was wrong, it begins where
// x is remembered, by (1), and adds nothing, until what was forgotten is known
// there). One that began before is in the copy of the node where it did, or of one
// to which that handed on what it had: nodes hand on to owners, which are read after
// the others. So:
//
//	(I) In every tally, either all runs of x that there will ever be are
//	    forgotten, and it counts in the sum of its smallest actor; or none is.
//
// (I) holds after a Compact: M had all runs, and if one of them had been forgotten
// before, all had, by (I) for M, and x could not be remembered. It holds after a
// merge: f is the maximum for each share, so if a run is forgotten in the merge it
// is in one of the two, and with it all others. It holds after an Add, which
// appends only IDs that the tally does not remember, so by T new ones. S is a
// function of f alone, as the set of the runs of each operation before f was the
// same, namely complete, whoever added it up: so it does not matter whose sum a
// merge takes. With (I) each operation that a tally has heard of counts once: in a
// sum, or among those remembered.
//
// A delete takes shares as a whole, and what it had seen of x with them; by (0) the
// shares in which x is forgotten were those of all owners, so none of an earlier
// time comes beside them.
//
// Nothing of this asks who forgets: the operations of an actor that mints no more
// go as those of any other, and its numbers stay. What is forgotten spreads with
// the increment that it came with. A write of its own would win over a concurrent
// delete.
//
// # What a member that is away costs
//
// None of the copies can be spared, not even that of a node which is down. Say A
// runs x and goes away before it handed it on; the client tries again, and B runs
// x. If B forgot x while A is away, x would count twice when A's share comes back,
// and nothing in the two shares would tell. Nor does it help to look at times: A may
// be cut off and not down, with clients on its side. To void what A ran, and nobody
// else knows, needs the promise of a majority that nobody will acknowledge it: that
// is consensus, which this store does not have. So the bound is:
//
// As long as a member does not answer, a counter takes [MaxRecent] operations with
// IDs less those that it remembered when the member went away: up to [CompactAt]
// and those of the last RetryForMS. Then it refuses further ones with [ErrBusy],
// before anything is stored, until the member is back or removed; deletes and
// increments without an ID, which are never tried again and so not remembered, go
// on. With all members there the same bound means MaxRecent operations in
// RetryForMS, some 540 in a second, for each key. A clock that is ahead by d makes
// that MaxRecent in RetryForMS + d.
package resolve
