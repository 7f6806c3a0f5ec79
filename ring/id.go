package ring

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
)

// ErrNodeID is returned (wrapped) for text that is no node ID.
var ErrNodeID = errors.New("ring: malformed node ID")

// NodeID names a node for ever: it is the UUID of the node's store, 16 bytes minted with the data directory. Node names
// and addresses are labels that may change; a NodeID moves with the data. The zero NodeID names no node.
type NodeID [16]byte

// String is the ID as 32 lower-case hex digits.
func (id NodeID) String() string { return hex.EncodeToString(id[:]) }

// IsZero says whether the ID names no node.
func (id NodeID) IsZero() bool { return id == NodeID{} }

// Compare orders IDs by their bytes: -1, 0 or +1.
func (id NodeID) Compare(other NodeID) int { return bytes.Compare(id[:], other[:]) }

// MarshalText is String as bytes. It never fails.
func (id NodeID) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, id[:]), nil }

// UnmarshalText is ParseNodeID into the receiver, which it leaves alone when the text is refused.
func (id *NodeID) UnmarshalText(text []byte) error {
	parsed, err := ParseNodeID(string(text))
	if err != nil {
		return err
	}
	*id = parsed
	return nil
}

// ParseNodeID reads what String writes: exactly 32 hex digits, of either case. Anything else is ErrNodeID.
func ParseNodeID(s string) (NodeID, error) {
	var id NodeID
	if len(s) != hex.EncodedLen(len(id)) {
		return NodeID{}, fmt.Errorf("%w: %d characters, want %d hex digits", ErrNodeID, len(s), hex.EncodedLen(len(id)))
	}
	if _, err := hex.Decode(id[:], []byte(s)); err != nil {
		return NodeID{}, fmt.Errorf("%w: %w", ErrNodeID, err)
	}
	return id, nil
}
