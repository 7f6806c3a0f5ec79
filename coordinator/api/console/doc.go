// Package console is the page at / of every node: the state of the cluster for
// a person, and the values of single keys. Its files are in the binary; they
// need nothing from elsewhere and no build step.
//
// # What it owes
//
//   - [Serve] writes nothing for a path that is no file of the console, so
//     that the caller can answer in its own words.
//
// # What it is owed
//
//   - Requests of GET and HEAD alone, and the rest of the node's interface on
//     the same origin: the page asks it for /v1/cluster, /v1/ring,
//     /v1/convergence, /v1/hints, /v1/explain, /v1/buckets and keys.
//
// # Invariants
//
//  1. Every file bears a policy under which a browser runs and shows the
//     console's own files alone, and makes no markup of a string: data of the
//     cluster becomes text nodes.
//  2. A browser asks for each file again before it uses it, and is answered 304
//     while it is the same: the files of two versions of a node never mix for
//     longer than one load of the page.
//  3. The page asks no more than a few requests in two seconds, however slow
//     the answers, and none while it is hidden.
package console
