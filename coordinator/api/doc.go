// Package api is the public HTTP API of a node: it turns requests into calls
// of a [KV], results into answers and errors into problem documents (RFC
// 9457). The embedded OpenAPI document (/openapi.yaml) describes every route,
// parameter, header and status; the tests hold every request and answer of
// theirs against it.
//
// # What it owes
//
//   - An answer to every request: what the caller did wrong is a 400 that
//     names the parameter or header and what is allowed, never ignored; what
//     the cluster could not do says whether anything may have been applied.
//     A 500 is a defect of this node and is logged, without its text being
//     told to the caller.
//   - Requests over MaxInflight, values for which MaxInflightBytes has no
//     room, requests before the node has joined and values known to be too
//     large are refused before their body is read, and the body is not waited
//     for. What is refused for now bears a Retry-After.
//   - Fairness between clients by construction: of each connection one
//     request at a time is looked at (HTTP/1.1, no pipelining), so that a
//     client's share is that of its connections. Addresses are not told
//     apart: behind a proxy, and on loopback, all clients have the same.
//
// # What it is owed
//
//   - [Lists] that end with their context.
//   - A [KV] that respects the deadline of its context and keeps neither the
//     key nor the value's slice changed: this package never touches a value
//     again after the KV has it, because a store may keep the slice.
//   - [Diagnostics], [Hints], [Convergence] and [Topology] that answer within
//     the deadline of their context, or at once where they get none; a [Pace]
//     that does so always.
//   - A [Cluster] whose Map and View are cheap: they are read once a request.
//
// # Invariants
//
//  1. A key is the escaped path after /keys/, percent-decoded exactly once;
//     it is never cleaned, so "..", "//" and %2F are part of the key.
//  2. Every answer that knows what the caller has now seen of a key bears the
//     sealed context: 200, 204, 300, 304, 404 and 406.
//  3. A write, and a change of the members, runs under its own deadline and
//     never under the cancellation of the request: a caller who goes away does
//     not leave a write half replicated. Reads end with their caller.
//  4. An ETag is equal only if the vector and the versions shown are, or those
//     that what is shown was merged of: an expired sibling changes it although
//     the vector stays. A put has none where it is merged with others.
//  5. No key request outlives its deadline by 100 ms, whatever the KV does,
//     under [Server.Serve]: the connection is then answered and closed over
//     the handler's head. The handler keeps its place in MaxInflight, and its
//     bytes, until the KV comes back.
//  6. A request has one answer: the handler's, or that one.
//  7. The values of the requests being served, large answers included, take
//     at most MaxInflightBytes, and one answer more.
//  8. Label values of metrics come from fixed sets, never from a request.
//  9. A change of the members is asked for once, after it was planned and only
//     if that succeeded; what has been made is answered and not asked for again,
//     and a page of another origin cannot ask for any.
//  10. The KV knows buckets by the names that their objects are stored under,
//     callers by those that they gave them. The cluster map tells one from the
//     other when a request is admitted, and once more where the KV says that the
//     bucket is gone; a context is sealed with the stored name, so none of a
//     bucket that was dropped covers anything in its next incarnation.
//
// The interface follows section 4.1 of the Dynamo paper (DeCandia et al.,
// 2007): get returns all siblings and a context, put takes the context back.
package api
