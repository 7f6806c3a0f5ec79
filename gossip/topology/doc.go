// Package topology says what a change of the cluster would do before it is made, and whether a member may be stopped:
// the arithmetic behind the plan, the checks before a removal, and "is it safe to stop this node?". It is pure: maps and
// facts in, numbers and sentences out.
//
// # Duties of the caller
//
// The map is one that the node has itself, and the facts are of the same moment. All answers are about that moment: who
// acts upon them later asks again. Facts that are missing make an answer vaguer, never rosier: unknown hints are a reason
// not to stop a member.
//
// # What is counted
//
// A complete copy of a partition is a settled bit of a member that is not removed. Partial copies, of members that are
// still filling, and hints count for nothing, although they may save data.
//
// A partition has a quorum while at most |O| - majority(|O|) of the nodes that its writes go to are out: owners O, pending
// and displaced ones. Reads need a majority of O, writes need that and one acknowledgement for each pending and
// displaced node (package ring has the argument); the latter is the stronger demand. Hints, which may stand in for
// writers, are not counted on: they are the reserve. So of k failures beside those that are down, the worst ones for a
// partition are any k of its writers, and the least spare over all partitions is how many the cluster can bear. For zones
// the worst are those with most writers of the partition.
//
// # Invariants
//
//  1. A [Plan] is a function of the two maps and the facts alone; lists and sentences have a fixed order.
//  2. The In of all members add up to Replicas, their BytesIn to Bytes, their BytesSent to the bytes of the copies
//     that can be made of complete ones while the members that are down stay down.
//  3. A partition is in at most one of Lost, AtRisk and Unreachable, and in one of them only if the change takes a
//     complete copy from it.
//  4. SafeToStop says that a member that is up is safe to stop only if every partition that it is a writer of has a quorum
//     without it, it keeps no hints, and nothing moves to it, from it, or beside it with its vote.
//
// The placement of a member that has no ID yet is computed with one made of its name: its own numbers and which
// partitions it gets are an estimate. The loads stay within the bounds that package ring states.
package topology
