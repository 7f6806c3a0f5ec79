package gossip

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"

	"google.golang.org/protobuf/encoding/protowire"

	"starling/ring"
)

// Peer is a live node as memberlist knows it.
type Peer struct {
	ID ring.NodeID
	// Boot is the start of the node that is alive, the latest if several seem to be.
	Boot uint64
	// RPC and HTTP are the host:port addresses that it serves at now.
	RPC, HTTP string
	// MapHash is the hash of its cluster map, as last heard.
	MapHash uint64
}

// The meta data of a memberlist node is a format byte and protobuf fields; unknown fields are skipped. With addresses
// within state.MaxAddressBytes it stays below memberlist's 512 bytes.
const (
	metaV1 = 1

	metaID   = 1 // 16 bytes
	metaBoot = 2 // varint
	metaRPC  = 3 // string
	metaHTTP = 4 // string
	metaHash = 5 // fixed64
	metaPad  = 6 // zero bytes, left out if there are none

	// maxPad is the longest padding. memberlist 0.7.0 keeps its outgoing messages in a tree keyed by (sent, length,
	// number), starts the numbers over while one message is still in it, and so loses one of two messages of equal
	// length. Once that has happened to a node's announcement it happens to its next ones too: nodes with addresses of
	// equal length were deaf to one of them until the next full state exchange. A random length breaks the spell.
	maxPad = 29
)

var errMeta = errors.New("gossip: malformed meta data")

// encode is the meta data with so many bytes of padding.
func (p Peer) encode(pad int) []byte {
	b := []byte{metaV1}
	b = protowire.AppendBytes(protowire.AppendTag(b, metaID, protowire.BytesType), p.ID[:])
	b = protowire.AppendVarint(protowire.AppendTag(b, metaBoot, protowire.VarintType), p.Boot)
	b = protowire.AppendString(protowire.AppendTag(b, metaRPC, protowire.BytesType), p.RPC)
	b = protowire.AppendString(protowire.AppendTag(b, metaHTTP, protowire.BytesType), p.HTTP)
	b = protowire.AppendFixed64(protowire.AppendTag(b, metaHash, protowire.Fixed64Type), p.MapHash)
	if pad > 0 {
		b = protowire.AppendBytes(protowire.AppendTag(b, metaPad, protowire.BytesType), make([]byte, pad))
	}
	return b
}

func decodeMeta(b []byte) (Peer, error) {
	if len(b) == 0 || b[0] != metaV1 {
		return Peer{}, fmt.Errorf("%w: unknown format", errMeta)
	}
	var p Peer
	for b = b[1:]; len(b) > 0; {
		number, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return Peer{}, fmt.Errorf("%w: %w", errMeta, protowire.ParseError(n))
		}
		size := protowire.ConsumeFieldValue(number, kind, b[n:])
		if size < 0 {
			return Peer{}, fmt.Errorf("%w: %w", errMeta, protowire.ParseError(size))
		}
		p.setField(number, kind, b[n:])
		b = b[n+size:]
	}
	if p.ID.IsZero() || p.Boot == 0 {
		return Peer{}, fmt.Errorf("%w: no identity", errMeta)
	}
	return p, nil
}

// setField takes a field that is known to be well-formed; one of another type than ours is skipped like an unknown one.
func (p *Peer) setField(number protowire.Number, kind protowire.Type, value []byte) {
	switch {
	case number == metaID && kind == protowire.BytesType:
		if b, _ := protowire.ConsumeBytes(value); len(b) == len(p.ID) {
			copy(p.ID[:], b)
		}
	case number == metaBoot && kind == protowire.VarintType:
		p.Boot, _ = protowire.ConsumeVarint(value)
	case number == metaRPC && kind == protowire.BytesType:
		p.RPC, _ = protowire.ConsumeString(value)
	case number == metaHTTP && kind == protowire.BytesType:
		p.HTTP, _ = protowire.ConsumeString(value)
	case number == metaHash && kind == protowire.Fixed64Type:
		p.MapHash, _ = protowire.ConsumeFixed64(value)
	}
}

// nodeName is the memberlist name of one start of a node. A restarted node is a new node to memberlist: a name that
// came back at another address, or at the same within a second, would be in conflict with its former self for a minute.
func nodeName(id ring.NodeID, boot uint64) string {
	return id.String() + "-" + strconv.FormatUint(boot, 10)
}

// clusterLabel keeps clusters apart that share a network: memberlist discards what bears another label.
func clusterLabel(cluster [16]byte) string { return "starling/" + hex.EncodeToString(cluster[:]) }

// namesPeer says whether a memberlist name belongs to the identity in its meta data.
func namesPeer(name string, p Peer) bool { return name == nodeName(p.ID, p.Boot) }
