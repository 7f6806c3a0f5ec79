// Package object is the sibling set of one key: what a put, a merge and a
// read do to it, its fingerprint, and its encoding. It is pure: no goroutine,
// clock, randomness or I/O.
//
// It follows dotted version vectors (see package version) in the form in
// which a whole object, one vector and its siblings, is what replicas keep
// and exchange. Conflicts and their resolution by the reader are those of
// section 4.4 of the Dynamo paper (DeCandia and others, SOSP 2007).
//
// # The argument in one table
//
// For one dot an object is in one of three states, which only ever rise:
//
//	0  unknown     the vector does not cover the dot
//	1  alive       the dot is a sibling
//	2  superseded  the vector covers the dot, and it is no sibling
//
// [Merge] takes the higher state of each dot. That is the maximum of a chain,
// hence idempotent, commutative and associative, for any two objects
// whatever. [Object.Update] raises states too: its own new dot to 1, and to 2
// only dots that the writer's context covers. So a value is superseded only
// by a write whose client had seen it, or had seen a value that superseded
// it; and every replica that hears of both ends in the same state.
//
// # What callers owe
//
//   - A dot is minted by an actor that has seen all its own earlier writes to
//     this key, in the object that is updated. One that may have forgotten
//     some (a crash without a sync, a restored copy, corruption) must never
//     mint again: the new entry of the vector would cover the forgotten
//     writes, and the next merge would destroy them at the replicas that
//     still hold them. TestForgetfulActorDestroysNothing shows both sides.
//   - Contexts come from [Object.Context], [Object.Reply], or a token made of
//     one of them. A vector made up by a client may cover writes to come.
//   - Objects are not changed after they were handed out, and the bytes given
//     to [Decode] are not changed while the object is in use.
//
// # Invariants
//
//  1. Siblings are sorted by dot, unique, and covered by the vector.
//  2. Merge is the least upper bound of its arguments; it has no limits and
//     drops nothing that either argument does not know to be superseded.
//  3. Update supersedes exactly the siblings that the context covers. Beyond
//     what was known before, the result knows dots that the context covers,
//     the new dot, and the actor's earlier ones. On an error nothing has
//     changed.
//  4. A put whose context was read at this object leaves one sibling. Two
//     puts with one context leave two.
//  5. Reply covers what the writer's context covered, the new dot, other
//     stampings of the same put, and superseded dots. It covers no sibling
//     that the writer has not seen.
//  6. Objects with equal vectors and dots have equal hashes, on every
//     platform, whatever order the writes came in. The content of a sibling
//     is not hashed, for its dot names it.
//  7. Append writes equal bytes for equal objects, and Size is their number.
//     Decode accepts no other bytes, but for fields that it does not know.
//
// # A sibling too many
//
// A vector has no holes. When a context excepts the dot A:n and reaches a
// replica that does not know A:n, the replica must not claim A:n, so it
// cannot claim later dots of A either, although the writer saw them
// (version.Context.Claim). A value with such a dot then stays beside the
// write that meant to supersede it, until the next write of that client or
// of any reader. Nothing is lost, and it cannot pile up: an actor's own
// replica knows all the actor's dots, so of one client's writes at most one
// for each actor stays. A coordinator avoids it altogether by updating a
// replica whose vector descends the context's.
//
// # Retries
//
// A put that was stamped by two coordinators has two dots under one [OpID].
// Both stay in the object: a merge that dropped one of them would not be
// associative once a third write supersedes only the other. A read shows one,
// and its context covers both. If a third write supersedes the first stamping
// before the second is made, the put comes back as that write's sibling.
//
// # Format
//
// One format byte, then protobuf fields: the vector (1) and the siblings (2,
// repeated), each sibling with its dot, operation, tombstone mark, content
// type, metadata, times and value. A reader skips fields whose numbers it
// does not know, and encoding the object again leaves them out, while the
// hash does not notice. A field may be added under this format byte only if
// losing it is harmless; anything else raises the format byte, and readers
// refuse it until they know it.
package object
