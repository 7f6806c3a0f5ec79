// Package node puts one Starling node together: it is the only place where
// the components meet.
//
// # Order of things
//
//   - Starting: the store is opened and the three ports are bound, so that a
//     wrong directory or a taken port ends the start before anyone hears of
//     the node. Then HTTP answers (not ready), node-to-node RPC answers map
//     exchanges, the node finds its cluster, and gossip begins.
//   - A change of the cluster map takes effect in one order: saved (by
//     gossip), routed by (coordinator), filled (antientropy). An answer to a
//     map exchange is given after the merged map is routed by. When buckets were
//     dropped nothing is written to them from then on, and their keys are deleted
//     in the background (bucketsweep.go).
//   - Stopping: not ready, HTTP finishes what it has, then requests for other
//     coordinators, gossip and RPC end, and last the store is closed, which
//     marks the stop as clean.
//
// # Invariants
//
//  1. A node whose directory belongs to a cluster never creates or joins
//     another one.
//  2. A node that was told to join never creates a cluster.
//  3. Before a restarted node publishes itself it asks its peers whether they
//     have seen this start, or a later one: then its directory is an old copy,
//     and it ends with gossip.ErrLostTime. A node that no peer answers cannot
//     know and starts.
//  4. A restarted node knows of every bucket that was dropped by what the peers
//     know that it asks then, before it serves anything. One that no peer answers
//     serves what it has, with its own vote alone.
//  5. The first component that fails stops the node; Run returns its error.
package node
