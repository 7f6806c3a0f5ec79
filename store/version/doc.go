// Package version is Starling's causality: the dots that name writes, the
// version vectors that say which of them a replica has seen, and the contexts
// and tokens that say which of them a client has seen. It is pure: no
// goroutine, clock, randomness or I/O.
//
// It follows dotted version vectors (Preguiça, Baquero, Almeida, Fonte and
// Gonçalves, "Dotted Version Vectors: Efficient Causality Tracking for
// Distributed Key-Value Stores", 2010; Almeida and others, "Scalable and
// Accurate Causality Tracking for Eventually Consistent Stores", DAIS 2014)
// and section 4.4 of the Dynamo paper (DeCandia and others, SOSP 2007), whose
// vectors had one entry a node and no dots.
//
// # What it relies on
//
// An actor never forgets. A vector with the entry A:7 claims all events of A
// for the key up to 7, so whoever mints a dot of A must have seen every
// earlier dot of A for that key. A store that may have lost a write must take
// a new actor before it mints again; package object shows what is lost
// otherwise. Sequences rise but need not be dense: one counter may serve all
// keys of a store, and an entry may end at a number that no write has.
//
// # Invariants
//
//  1. A [Vector] is sorted by actor, has one entry an actor, and no entry of
//     zero. A [Context]'s exceptions are sorted, unique, and covered by its
//     vector. Values built by this package or accepted by its decoders are
//     such; callers that write literals owe the same.
//  2. Nothing is changed in place. What a function returns may share memory
//     with its arguments.
//  3. [Merge] and [Context.Union] are set unions over the dots that are
//     covered: idempotent, commutative, associative.
//  4. A context never says that a client saw more than it saw. It may say
//     less, which costs a sibling that could have gone and never a value:
//     a token of a context that is too large says less, and so does
//     [Context.Claim] when a replica's vector cannot hold an exception.
//  5. [Context.Claim] covers no exception that the replica does not know.
//     A vector has no holes, so the alternative would be a replica that
//     claims a write it never had, whose next merge then destroys that write
//     at every replica that does have it.
//  6. An encoding is canonical: equal values have equal bytes on every
//     platform, and a decoder accepts no other bytes. The decoders never
//     panic and allocate no more than their input can fill.
//  7. [Open] gives back what [Seal] was given for the same secret, bucket and
//     key, and otherwise an error: a token cannot be forged, altered or
//     carried over to another key by someone without the secret. It does not
//     hide its content.
//
// # Why a context has exceptions
//
// The answer of a put bears a context, so that a client can write again
// without reading. It cannot be the vector of the replica's object. Say that
// two clients put without a context through the actor A and get the dots A:1
// and A:2, two siblings. The vector is now A:2, and it covers A:1. Handed to
// the second client it would say that this client saw the first one's value,
// and its next put would supersede a value that was acknowledged and that
// nobody ever read. So the second client gets "A:2 except A:1".
package version
