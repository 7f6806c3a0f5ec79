package client

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"time"
)

// Cluster is the cluster as one node sees it.
type Cluster struct {
	// ID is empty where the node has not joined a cluster yet.
	ID         string `json:"cluster_id"`
	MapHash    string `json:"map_hash"`
	Partitions int    `json:"partitions"`
	// Replicas is how many a key has.
	Replicas int `json:"replicas"`
	// Node is the name of the one that answered.
	Node    string   `json:"node"`
	Members []Member `json:"members"`
}

// Member is one node of a [Cluster].
type Member struct {
	Name string `json:"name"`
	ID   string `json:"id"`
	// State is "joining", "active", "leaving" or "removed".
	State string `json:"state"`
	// Alive is the opinion of the asked node's failure detector.
	Alive  bool   `json:"alive"`
	HTTP   string `json:"http"` // host:port, as are the next two
	RPC    string `json:"rpc"`
	Gossip string `json:"gossip"`
	Zone   string `json:"zone"`
	Weight int    `json:"weight"`
	// Settled counts the partitions that the member owns, Pending those that
	// it is still being filled with.
	Settled int `json:"settled"`
	Pending int `json:"pending"`
	// Answered: the member said how it is. If not, the three after it are zero.
	Answered bool `json:"answered"`
	// Hints and HintBytes are the writes that the member keeps for others.
	Hints     int64 `json:"hints"`
	HintBytes int64 `json:"hint_bytes"`
	// Draining: the member is about to stop.
	Draining bool `json:"draining"`
	// Transfer is how far the member is with what it is being filled with; nil
	// where nothing is to be filled, or it did not answer.
	Transfer *Transfer `json:"transfer"`
	// Leaving is what a member that leaves waits for, for a person to read;
	// empty for others.
	Leaving string `json:"leaving"`
	// Peer is how the member looks from the node that answered; nil for that
	// node itself.
	*Peer
}

// Transfer is how far a member is with the partitions that it is filled with.
type Transfer struct {
	// Pending counts the partitions that are not complete, by the member's own
	// account.
	Pending int `json:"pending"`
	// BytesDone are those received since the filling began, BytesTotal what is
	// expected in all: an estimate, 0 where there is none yet.
	BytesDone  int64 `json:"bytes_done"`
	BytesTotal int64 `json:"bytes_total"`
}

// Peer is how a node looks from another that sends requests to it.
type Peer struct {
	// Usable: requests are sent to it.
	Usable bool `json:"usable"`
	// Breaker is "closed", "half_open" or "open".
	Breaker string `json:"breaker"`
	// InFlight counts the calls under way to it.
	InFlight int `json:"in_flight"`
	// ReadP95MS and WriteP95MS are its recent latencies in milliseconds; 0
	// where they are not known.
	ReadP95MS  float64 `json:"read_p95_ms"`
	WriteP95MS float64 `json:"write_p95_ms"`
}

// Explanation is what every node that has to do with a key holds of it.
type Explanation struct {
	Partition int `json:"partition"`
	// Agree: every owner and pending node answered, and all hold the same.
	Agree bool `json:"agree"`
	// Verdict says the same and why to a person; it is not to be parsed.
	Verdict  string             `json:"verdict"`
	Replicas []ExplainedReplica `json:"replicas"`
}

// ExplainedReplica is one node's part of an [Explanation].
type ExplainedReplica struct {
	Node string `json:"node"`
	// Role is "owner", "pending", "displaced" or "fallback".
	Role  string `json:"role"`
	Alive bool   `json:"alive"`
	// Hash is equal for equal copies, and empty where nothing is held.
	Hash string `json:"hash"`
	// Hinted: Hash, Vector and Siblings are not of a copy of the node's own
	// but of the first of its hints.
	Hinted bool `json:"hinted"`
	// Vector has for each actor the last write that the copy has seen.
	Vector   map[string]uint64  `json:"vector"`
	Siblings []ExplainedSibling `json:"siblings"`
	// Hints counts the hints that the node keeps of the key, HeldFor says for
	// whom.
	Hints   int       `json:"hints"`
	HeldFor []HeldFor `json:"held_for"`
	// Leaf is the key's leaf of the node's Merkle tree; nil for a fallback
	// and for a node that did not answer.
	Leaf *Leaf `json:"leaf"`
	// Error is why the node did not answer; empty if it did.
	Error string `json:"error"`
}

// ExplainedSibling is one of the values that a node holds, without its bytes.
type ExplainedSibling struct {
	Dot      string    `json:"dot"`
	Bytes    int       `json:"bytes"`
	Modified time.Time `json:"modified"`
	// Expires is zero for a value without a TTL.
	Expires time.Time `json:"expires"`
	// Deleted marks a tombstone.
	Deleted bool `json:"deleted"`
}

// HeldFor is a hint: the node that it is for, and the hash of what is kept.
type HeldFor struct {
	Node string `json:"node"`
	Hash string `json:"hash"`
}

// Leaf is a leaf of a Merkle tree.
type Leaf struct {
	Number int    `json:"number"`
	Keys   uint64 `json:"keys"`
	Sum    string `json:"sum"`
}

// Hints are the writes that one node keeps for others.
type Hints struct {
	// Node is the one that keeps them.
	Node    string       `json:"node"`
	Hints   int64        `json:"hints"`
	Bytes   int64        `json:"bytes"`
	Targets []HintTarget `json:"targets"`
}

// HintTarget is what a node keeps for one other.
type HintTarget struct {
	Target string `json:"target"`
	ID     string `json:"id"`
	Hints  int64  `json:"hints"`
	Bytes  int64  `json:"bytes"`
	// State is "waiting", "draining" or "idle".
	State string `json:"state"`
	// Delivered counts the hints delivered since the node started.
	Delivered int64 `json:"delivered"`
	// LastError is why the last delivery failed; empty if it did not.
	LastError string `json:"last_error"`
}

// Cluster asks any node for the members.
func (c *Client) Cluster(ctx context.Context) (*Cluster, error) {
	return ask[Cluster](ctx, c, &call{op: "cluster", method: http.MethodGet, path: "/v1/cluster"})
}

// Explain asks what every replica and fallback holds for a key, which need
// not exist. Any node can say.
func (c *Client) Explain(ctx context.Context, bucket, key string) (*Explanation, error) {
	if err := checkNames(bucket, key); err != nil {
		return nil, err
	}
	prefix := "/v1/explain/" + bucket + "/"
	return ask[Explanation](ctx, c, &call{
		op: "explain", method: http.MethodGet, bucket: bucket, key: key, path: prefix + key, rawPath: prefix + EscapeKey(key),
	})
}

// Hints asks the node at an address, such as [Member.HTTP], for the writes
// that it keeps for others.
func (c *Client) Hints(ctx context.Context, address string) (*Hints, error) {
	e, err := c.endpoint(address)
	if err != nil {
		return nil, err
	}
	return ask[Hints](ctx, c, &call{op: "hints", method: http.MethodGet, path: "/v1/hints", only: e})
}

// ReplayHints asks the node at an address to deliver now what it keeps for
// target, a member's name or ID; or for all, where target is empty. It answers
// how many hints are pending there, and does not wait for them. Asking twice
// does no harm.
func (c *Client) ReplayHints(ctx context.Context, address, target string) (pending int64, err error) {
	e, err := c.endpoint(address)
	if err != nil {
		return 0, err
	}
	k := &call{op: "replay", method: http.MethodPost, path: "/v1/hints/replay", only: e}
	if target != "" {
		k.query = url.Values{"target": {target}}.Encode()
	}
	doc, err := ask[struct {
		Pending int64 `json:"pending"`
	}](ctx, c, k)
	if err != nil {
		return 0, err
	}
	return doc.Pending, nil
}

// ask carries out a call whose answer is a JSON document.
func ask[T any](ctx context.Context, c *Client, k *call) (*T, error) {
	k.header = make(http.Header)
	if k.body != nil {
		k.header.Set("Content-Type", "application/json")
	}
	a, err := c.do(ctx, k)
	if err != nil {
		return nil, err
	}
	doc := new(T)
	if err := json.Unmarshal(a.body, doc); err != nil {
		return nil, fmt.Errorf("client: %s: %w", k.op, err)
	}
	return doc, nil
}

// endpoint is the one at an address, with what is known of it.
func (c *Client) endpoint(address string) (*endpoint, error) {
	u, err := ParseEndpoint(address)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	for _, e := range c.routes.Load().all {
		if e.url.Host == u.Host {
			return e, nil
		}
	}
	return &endpoint{url: *u}, nil
}
