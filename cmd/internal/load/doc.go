// Package load drives a key-value server with HTTP requests and measures what
// it answers: the engine of "starling bench" and of deploy/local/faults.sh.
//
// The same program drives a Starling cluster and a bare echo server: a
// [Target] is a list of addresses and a query, the requests are the same
// bytes but for these. The ratio of two measurements then says what the store
// costs on this machine, whatever the machine is.
//
// # The method
//
// A fixed number of connections each send one request after the other (a
// closed loop): a slower server is asked less often, so latencies are those
// at saturation and not those at a given rate. Connection i talks to address
// i modulo their number, and moves on to the next one when it breaks; nothing
// knows the ring. Warm-up is driven and not counted. What starts within the
// measured time counts, and the time runs until the last of it is answered, so
// that a stall at the end is not lost.
//
// Workloads are those of YCSB (Cooper et al., 2010) that need get and put
// alone: A, B, C, D and F, with its zipfian, scrambled over the key space, and
// latest distributions.
//
// # Contexts
//
// A put without a context supersedes nothing: repeated puts of a key would
// pile up siblings, and measure that. A [Load] therefore keeps the last
// context that it was answered for each record and gives it with the next put
// of that record, as a client would that had read before it writes.
//
// # Faults
//
// [Clients] measure what is noticed of servers that die, hang or slow down.
// They too are a closed loop of gets and puts, and in addition each
//
//   - has an endpoint as its home. Where the connection is refused, nothing was
//     sent and it asks the next endpoint; where a request fails in another way
//     or is not answered in time, the request has failed and the next one goes
//     to the next endpoint.
//   - records every request, so that a [Trace] can be cut into windows.
//   - has keys that it alone writes, each time another value, with the context
//     of the last acknowledged put. So it is known what each copy of a key must
//     hold in the end: the value of the last acknowledged put, or that of a
//     later one whose outcome is unknown, and never a value whose put was
//     answered as not applied. [Clients.Verify] asks every owner.
//
// # Invariants
//
//  1. At most one request is under way on each connection.
//  2. No goroutine outlives the Fill, Run or Verify that started it.
//  3. Memory is bounded by Options: one context a record, one histogram for
//     each connection and operation. Clients keep one context a key and 24
//     bytes a request, of a million requests each at most.
package load
