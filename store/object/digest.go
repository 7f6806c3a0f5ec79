package object

import "starling/store/version"

// Digest is what replicas compare of one key before they exchange its object.
type Digest struct {
	Ref Ref
	// Hash is [Object.Hash]; Vector is the object's.
	Hash   uint64
	Vector version.Vector
}
