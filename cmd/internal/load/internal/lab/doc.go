// Package lab is what the programs that measure a local cluster share: they
// drive deploy/local/cluster.sh and wait.
package lab
