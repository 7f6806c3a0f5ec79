// Command starling is a node, a client and the tools of a Starling cluster.
//
// Every command is one file with one constructor, listed in root.go. A command
// parses its arguments, calls the package that does the work, and prints:
//
//  1. Results go to standard output, everything else to standard error.
//  2. With -o json the output is one JSON document whose names are stable;
//     status --watch prints one for each look.
//  3. Exit codes: 0 done; 1 failed (a key that is not there included); 2 the
//     command line, or the request that it makes, is wrong; 3 no node could
//     be reached; 4 the cluster is not healthy, or a node not safe to stop; 5 a
//     precondition does not hold (409 and 412: too many siblings, a context
//     not yet visible, a change of the members that would lose data). A
//     second SIGTERM or SIGINT ends a command at once with 1.
//  4. What changes the members asks on a terminal, and takes --yes elsewhere.
//     --dry-run shows its plan and changes nothing.
//  5. Colour is for terminals alone, and not with NO_COLOR.
//  6. Text that comes from the cluster is printed so that it cannot drive a
//     terminal; only the raw bytes of a get are as they are.
package main
