package node

import "starling/coordinator"

// openList opens this node's keys of a bucket for a listing.
func (n *Node) openList(bucket, prefix string) (coordinator.ListReader, error) {
	l, err := n.store.List(bucket, prefix)
	if err != nil {
		return nil, err // and no reader that is not nil
	}
	return l, nil
}
