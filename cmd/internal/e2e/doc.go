// Package e2e has the tests that need real processes and a real disk: they
// build the binary, run deploy/local/cluster.sh, speak HTTP, and kill nodes.
// It has no code but its tests.
package e2e
