// Package rpc carries requests between the nodes of a cluster over their own
// wire protocol: the coordinator's reads, writes and forwards, questions after
// how a node and its copies are, the keys of buckets, the pages and sizes of partitions that are being
// filled, the exchanges by which owners become equal, the steps of a purge, and
// cluster maps.
//
// The frames, deadlines, bounds and connections are those of the internal
// package wire, whose comment has the layout and its invariants. This package
// adds the messages, the errors, and who may be called when.
//
// # What it owes
//
//   - [Transport] is the calling side: it implements coordinator.Peers,
//     coordinator.Probes, coordinator.ListPeers, and of package antientropy Peers, ReplicaPeers,
//     ReportPeers and ReapPeers, and Exchange for the gossip. It keeps one
//     connection to each address for requests that somebody waits for, and one
//     for bulk (all that carries whole objects or thousands of keys, and maps),
//     so that a page never delays a quorum.
//   - Calls to a peer that hangs end within BusyDeadAfter, and those after them
//     fail at once until it can be dialled again. Only Ping waits for that.
//   - [Transport.Serve] is the answering side. It may listen before the node
//     can serve: what is missing in [Services] answers coordinator.ErrNotReady.
//
// # What it is owed
//
//   - A cluster ID that, once set, stays ([Transport.SetCluster]).
//   - Handlers that end when their context does.
//   - Objects and slices in requests are not changed while a call runs, and
//     decoded objects, which share memory with the frame they came in, are
//     not changed at all.
//
// # Invariants
//
//  1. The error of a call wraps coordinator.ErrUnknown if and only if the
//     request may have had an effect. Everything else had none. What the peer
//     itself answers says which ([RemoteError]); a coordinator.QuorumError
//     says it in its MaybeApplied, whatever its causes wrap. Push and Purge,
//     which carry many keys, are the exception: their error is about the key
//     that failed, and those before it may have been done. Both may be repeated.
//     The error of a batch is that of each of its entries; an entry that was
//     answered has its own.
//  2. errors.Is finds the same sentinel on the caller's side that the handler
//     wrapped on its own; the list is the error table in this package.
//  3. A node without a cluster, on either side, gets no further than Exchange;
//     nodes of two clusters get no further than the preface.
//  4. A request for a node goes to that node or to none: an address that
//     another node has taken over is coordinator.ErrUnreachable.
//  5. Messages are canonical: fields in ascending order, zero values left out,
//     shortest integers. A decoder refuses anything else, skips fields that it
//     does not know (they can only come last) and allocates no more than a
//     small multiple of what it reads (132 KiB for the verdicts of a
//     comparison, 400 KiB for the puts of a batch). Golden files hold the bytes of every message. Where a reply
//     goes by the order of the request's list, one of another length is refused.
//  6. A handler's panic is one failed request, not a failed node.
//  7. A node that stops answers what it runs and refuses the rest: none of its
//     callers is left with coordinator.ErrUnknown, as long as what runs ends
//     within DrainTimeout.
//
// # Versions
//
// A field is never given another meaning. A message that an older node must
// not misread raises wire.MaxVersion; MinVersion follows a release later, so
// that a cluster can be upgraded node by node.
package rpc
