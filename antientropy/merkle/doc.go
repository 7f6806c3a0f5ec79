// Package merkle compares what two replicas hold of a partition without
// sending it. A replica sums up its keys in [Leaves] leaves; a [Tree] adds
// [Fanout] inner nodes and a root. All sums are modulo 2^64, so a tree is
// linear: a leaf changes its inner node and the root by the same difference,
// and no order of keys matters.
//
// The root is compared in full. Below it nodes are compared by [Digest]s of 32
// bits, which a salt makes different in every comparison. If at most
// [SketchLeaves] leaves differ, two [Sketch]es of their digests tell which, in a
// few dozen bytes.
//
// # What it owes
//
//  1. Equal trees have equal nodes and, under any salt, equal digests.
//  2. Two nodes that differ have the same digest with a chance of 2^-32,
//     independently for every salt: what one comparison overlooks, the next
//     does not.
//  3. Two sketches tell exactly the leaves whose digests differ, or that they
//     are too many.
//  4. Digests and sketches are a wire format, frozen by testdata/digest.golden
//     and testdata/sketch.golden.
//
// # What it is owed
//
// The sums of the leaves are sums of hashes that look random. Nobody who can
// choose hashes is guarded against.
//
// The trees are those of section 4.7 of the Dynamo paper (DeCandia et al.,
// 2007), with sums in the place of hashes of hashes, so that they can be kept
// up to date by adding.
package merkle
