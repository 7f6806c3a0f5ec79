// Package state is the cluster map: who belongs to the cluster, in which state, with which settings. Membership is
// explicit and durable (section 4.8.1 of the Dynamo paper): only an administrator, or a node about itself, changes the
// map; a failure detector never does.
//
// A [Map] is an immutable value, changed by copying. Any two maps of one cluster merge, in any order and any number of
// times, to the same map, so nodes agree once they have heard of each other's changes, whatever the network did in
// between. The package is pure: no goroutine, clock, randomness or I/O.
//
// The map carries what is known of buckets (package bucket), since that is as durable, and spread the same way.
//
// A member's record has two parts. Its State is written by anyone and only moves forward, and with State Removed its
// Heir, the member that has its seat in the ring, and Forced, the mark of a removal that gave partitions up. All else is
// written by the owner alone, who raises Version with every change.
//
// # What callers owe
//
//   - A node changes the owner-written fields of no record but its own, and gives every change a Version that it never
//     used before: boot counter << 32 | n, with a boot counter that its store raises durably at every start.
//   - A map is made durable before anyone else hears of it.
//   - A member is replaced by Map.Replace, with an heir that the map has.
//   - A removal is marked as forced by Map.Force, and only where an administrator asked for force.
//   - Slices inside a Map or Member are not modified once it is shared.
//
// # Invariants
//
//  1. Merge is idempotent, commutative and associative, and loses no record, of a member or of a bucket.
//  2. A record never leaves a map, and its State never moves back: a Removed member stays, without settled bits, so
//     that nobody who missed the removal can bring it back.
//  3. Settings never change once set.
//  4. The encoding is canonical: one map has one encoding, Decode accepts no other, and Hash is the XXH64 of it.
//     Equal hashes mean equal maps. A map without buckets is encoded as it was before maps had any.
//  5. Fields of a record that this build does not know are kept, merged and hashed with it, so that nodes of two
//     releases agree on one map.
//  6. Everything that input can grow is bounded: see the Max constants.
//  7. No two members have one seat in the ring, whoever replaced whom, and whichever maps met.
//  8. What changes the members of a map leaves its buckets as they are, and buckets change neither ring nor view.
package state
