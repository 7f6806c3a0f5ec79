// Package load drives a key-value server with HTTP requests and measures what
// it answers: the engine of "starling bench".
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
// # Invariants
//
//  1. At most one request is under way on each connection.
//  2. No goroutine outlives the Fill or Run that started it.
//  3. Memory is bounded by Options: one context a record, one histogram for
//     each connection and operation.
package load
