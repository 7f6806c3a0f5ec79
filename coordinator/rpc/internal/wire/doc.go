// Package wire is the framing between two Starling nodes: a preface, frames,
// and calls with deadlines over one TCP connection. It knows nothing of keys
// or objects; package rpc puts the messages in.
//
// # The stream
//
// The dialling side sends its [Preface], the accepting side answers with its
// own. Both check magic, version range and cluster ID and close on a mismatch.
// Then both sides send frames:
//
//	offset  0  crc32c    uint32  Castagnoli, over all that follows
//	        4  length    uint32  payload bytes, at most MaxPayload
//	        8  id        uint64  of the request; 0 for ping, pong and goaway
//	       16  kind      uint8   request, response, error, cancel, ping, pong, goaway
//	       17  method    uint8   of a request
//	       18  flags     uint16  none yet: sent as 0, not looked at
//	       20  budget    uint32  of a request: microseconds left; 0 = no deadline
//	       24  payload
//
// All integers are little-endian. A frame of an unknown kind is skipped.
//
// # Invariants
//
//  1. A call ends in exactly one of three ways: a reply; an error that says
//     the request had no effect; an error that wraps [ErrLost], after which
//     the request may have run, may be running or may run yet.
//  2. A request that was not handed to the socket, or that the peer refused,
//     is never reported as lost; one that was handed over never as refused
//     unless the peer said so.
//  3. No queue grows without bound: what waits to be written, what waits for
//     a reply, what runs for a peer and for all peers together, and how much
//     that holds are bounded, and beyond the bound a request is refused. No
//     connection can take what another one is sure of (see load).
//  4. A frame's declared length alone allocates at most firstChunkBytes.
//  5. A request whose deadline has passed does not begin to run. Time that a
//     request waits in the sender's queue is taken off its budget; time on the
//     network is not, since the two clocks are not compared.
//  6. A payload handed to a handler or caller is its own: it is never reused.
//  7. A caller never waits longer than its context, whatever the socket does.
//  8. Every goroutine is awaited: [Server.Serve] and [Pool.Close] return when
//     none is left.
//
// # Liveness
//
// A side that has read nothing for PingEvery sends a ping, and gives the
// connection up when it has read nothing for DeadAfter, or when one write has
// made no progress for that long. Any bytes count as reading, so a large frame
// on a slow link is not taken for a dead peer.
//
// The calling side is quicker while calls wait: then it pings when it has read
// nothing for BusyPingEvery, and gives the connection up after BusyDeadAfter.
// A peer that is merely slow with a request is not given up, since its reader
// answers the ping at once; one that hangs (stopped, swapped out, cut off
// without a reset) is found within that time. A call that its caller gave up
// counts until the peer is heard again. Once a peer was given up, only
// [Pool.Probe] waits for the next dial; [Pool.Get] fails until it has succeeded.
//
// Only time during which this process ran counts, so that one which was stopped
// itself does not take its peers for dead (see watch).
//
// A server that stops sends goaway, refuses further requests and finishes the
// ones it has. The client then opens a new connection for new calls and closes
// the old one after its last reply.
//
// # Coalescing
//
// Most of the cost of a small call is in the system calls. A frame is queued;
// the first to queue starts a flusher, which yields the processor once, so
// that others can queue theirs, and then writes all that is there in one call.
package wire
