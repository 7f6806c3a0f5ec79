// Package arrows has no code of its own: its tests hold the shape of the
// repository.
//
//  1. Imports run one way: a package imports only what the table of rules says.
//     Pure packages import pure packages, shells never each other, adapters
//     shells, leaves nothing.
//  2. Pure packages have no goroutine, clock, randomness, lock or I/O.
//  3. One library, one owner: only the store knows Pebble, only gossip knows
//     memberlist, only config viper, only the HTTP API chi.
//  4. At the top level stand the agreed entries and no others.
//  5. Links in the documentation lead somewhere, and the make targets that it
//     names exist.
//
// A new package needs a line in the table (rules_test.go).
package arrows
