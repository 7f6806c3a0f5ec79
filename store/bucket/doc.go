// Package bucket is what is known of buckets: the properties that a cluster
// gave them, and which incarnations of them were dropped. It is pure: nodes
// merge what they know, in any order, and come to the same.
//
// A bucket that is dropped goes on under the same name in its next
// incarnation, which is empty. The objects of each incarnation are stored under
// a name of its own, so that one that turns up late, from a node that was down,
// belongs to a bucket that is known to be gone.
//
// A drop and a declaration that did not know of each other come to the drop:
// the incarnation counts before all else. Two such drops are one.
//
// # What callers owe
//
//   - Who changes a registry starts from the latest that it knows, makes the
//     next record by [Record.Declare] or [Record.Drop], and makes the result
//     durable before anyone else hears of it. [Step] checks what it can.
//   - A writer's name is its own: no two nodes change records under one.
//   - A registry is not modified once it is shared.
//
// # Invariants
//
//  1. A name's incarnation never falls. Under one incarnation the version never
//     falls.
//  2. [Merge] is idempotent, commutative and associative: it is the larger of
//     two records in a total order, name by name.
//  3. [Stored] is injective, and [Split] its inverse.
//  4. A record never leaves a registry: what was dropped must stay known, or an
//     object of before would come back.
//  5. The encoding is canonical: equal registries have equal bytes, and
//     [Decode] accepts no others, never panics, and returns only what
//     [Registry.Validate] accepts.
//  6. Fields of a record that this build does not know are kept, merged and
//     encoded with it; a declaration keeps them, a drop does not.
//  7. Whatever input can grow is bounded: see the Max constants. Registries
//     that each are within [MaxRecords] merge unless there are more than
//     [MaxMerged] records in all: sides of a network that was cut in two must
//     not find that they cannot be one again.
package bucket
