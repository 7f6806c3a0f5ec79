// Package client talks to a Starling cluster over its HTTP interface.
//
// It imports the standard library alone, so that a program that stores its
// carts in Starling does not inherit the store's dependencies.
//
// # Values, contexts and siblings
//
// Starling never decides between two writes that did not know of each other:
// it keeps both, as siblings, until somebody who has seen both writes a value
// that supersedes them. What a writer has seen travels as an opaque context:
// every [Value] bears one, and a put given that context supersedes exactly
// what the reader saw. A put without a context supersedes nothing. (Dynamo,
// section 4.4, with dotted version vectors in the place of plain ones.)
//
// [Client.Update] carries the context for its caller: it reads, lets
// [Options.Resolve] merge siblings, calls a function that makes the new value
// of the old one, and writes the result with the context of the read.
//
// # Buckets and keys
//
// [Client.CreateBucket] declares what a bucket makes of concurrent writes instead;
// [Client.Buckets], [Client.ShowBucket] and [Client.DropBucket] go with it.
// [Client.Add] is for buckets that count, [Client.Previous] for those in which the
// last write wins. [Client.Keys] ranges over the keys of a bucket in byte order,
// page by page, and [Client.Batch] carries out many operations in one request.
//
// # The cluster
//
// [Client.Cluster], [Client.Explain], [Client.Hints], [Client.ReplayHints],
// [Client.Convergence], [Client.Repair] and [Client.RepairStatus] are for
// programs that watch over a cluster; [Client.Plan], [Client.SafeToStop],
// [Client.Leave], [Client.Remove] and [Client.Replace] for those that change it.
//
// # What the client promises
//
//  1. One Put is one put, and one Add one increment, however often it is sent: all
//     its attempts carry one idempotency key, drawn once from crypto/rand.
//  2. An attempt is repeated only where that is safe: nothing was sent, the
//     server said that it refused, or it makes no difference: the request
//     bears an idempotency key, or is a change of the members, each of which
//     names its member and is made once.
//     Where nothing was sent or the server says that nothing happened, another
//     endpoint is asked at once; else, and when all have been asked, it waits,
//     for as long as a Retry-After says. An increment is repeated for some seconds
//     only: a cluster does not know it for ever. An endpoint that does not answer or
//     asks for a pause is passed by for a while.
//  3. An error of a write says whether the write may have been applied
//     ([Error.MaybeApplied]). It says no only if that holds for every attempt.
//  4. A call ends: by its context, by [Options.Timeout] where the context has
//     no deadline, and after [Options.Attempts].
//  5. A key arrives at the server byte for byte: slashes, percent signs, dots
//     and NUL included.
//  6. No answer is read past a bound ([Options.MaxAnswerBytes]).
//  7. Routing is a hint, never a condition: with a ring that is old, wrong or
//     missing, requests go to other nodes, and any node serves any key.
//
// # What it is owed
//
// Close a client that is no longer needed: its background ring refresh ends
// and is awaited there. A Client is safe for use by many goroutines; Options
// must not be changed after New.
package client
