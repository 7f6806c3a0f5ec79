// Package gossip keeps the cluster maps of all nodes equal and knows which nodes are alive. It is the only package
// that knows hashicorp/memberlist, a SWIM failure detector (Das, Gupta, Motivala 2002; section 4.8 of the Dynamo paper).
//
// Membership and liveness are two things. Membership is the cluster map of package state: explicit, durable, merged.
// Liveness is memberlist's opinion and decides nothing but where requests are sent first.
//
// memberlist carries only a node's ID, boot counter, addresses and the hash of its map. A node that sees a hash other
// than its own exchanges maps with that peer over RPC (the [Exchanger]) and merges. A node that changed its own record
// gives its map to live peers at once. A random exchange every few seconds is the net below both. memberlist does not
// heal a long partition by itself, so a loop dials members that are not alive, for ever.
//
// A node comes to its first map by [NewCluster] or by [Join]; with a map, [New] makes the component and [Gossip.Run]
// runs it.
//
// # Names of new members
//
// A data directory makes a member; a node with an empty one is a new member, whatever its name was before. Where its
// configured name, n3, belongs to another member that is not removed, it is refused, unless that member has the RPC
// address of the node itself. Such a member cannot run: its disk was lost, or is not mounted. Then the node joins as n3-2, or
// the first of such names that is free, and says so; the member n3 and its place in the ring are left to the
// administrator. At later starts it goes by n3 as soon as that is free. A node that takes the place of a dead one
// (Options.Replace) may have its name at once.
//
// # Buckets
//
// What is known of buckets is a part of the map and goes the same ways: [Gossip.UpdateBuckets] changes it at any node, and
// a node that was away learns of it with its first exchange of maps. Until then it goes by what is on its disk.
//
// # What callers owe
//
//   - Options.Save makes the map durable before it returns.
//   - Options.Self.Boot was raised durably for this start and is not used by any other.
//   - Run is called once; Close, if Run never is. Run's error ErrLostTime or ErrRemoved means that this node must not
//     serve another request.
//   - Nobody is replaced who runs: the caller of Replace asks it first, and Options.Replace is as good as such a call.
//   - UpdateBuckets is given records whose Writer is Options.Self.ID.
//   - What an Exchanger reaches at the other side is Gossip.Merge, and its answer is the merged map.
//
// # Invariants
//
//  1. No map is published, to others or to this node, before it was saved.
//  2. Only this node writes its own record, each time under a Version it never used before. If a record of it comes
//     back that it cannot have written, it stops: ErrLostTime. If it was removed, it stops: ErrRemoved.
//  3. A map of another cluster is refused and changes nothing, whoever sends it. It never stops a running node.
//  4. memberlist's callbacks take one short lock and never wait: they record the last word on a node, so nothing
//     queues and nothing is lost but beyond maxPeers, which is counted.
//  5. At most one exchange with a peer is in flight, at most maxExchanges that nobody waits for are in flight at all,
//     and failed ones back off.
//  6. When Run returns, every goroutine this package started has ended. memberlist's own end by themselves within its
//     timeouts; what they still call back is ignored.
package gossip
