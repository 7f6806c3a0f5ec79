package client

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// Convergence is what is proven of the equality of the replicas.
type Convergence struct {
	// Node is the name of the one that asked the others.
	Node string `json:"node"`
	// Converged: every member answered, every pair holds, and there are no
	// hints and nothing to be filled.
	Converged bool `json:"converged"`
	// OldestProofSeconds is the age of the oldest proof; nil where a pair was
	// never proven equal.
	OldestProofSeconds *float64 `json:"oldest_proof_seconds"`
	Partitions         int      `json:"partitions"`
	// PairsTotal counts the pairs of owners of all partitions, Stale those
	// that do not hold, Unproven those of them that were never proven equal.
	PairsTotal int               `json:"pairs_total"`
	Stale      int               `json:"stale"`
	Unproven   int               `json:"unproven"`
	Pairs      []ConvergencePair `json:"pairs,omitempty"`
	// Unreachable are the members that did not answer.
	Unreachable []string `json:"unreachable"`
	// Filling counts the partitions that members are being filled with.
	Filling int `json:"filling"`
	// Hints are those that the members keep.
	Hints int64 `json:"hints"`
	// Tombstones counts the copies of deleted keys that are not purged: a key
	// with three owners is three.
	Tombstones int64 `json:"tombstones"`
	// PurgeBlockers are what keeps tombstones from being purged.
	PurgeBlockers []PurgeBlocker `json:"purge_blockers"`
}

// ConvergencePair is what is proven of two owners of a partition.
type ConvergencePair struct {
	Partition int `json:"partition"`
	// A and B are the names of the owners, A before B.
	A string `json:"a"`
	B string `json:"b"`
	// ProvenSecondsAgo is nil where the two were never found equal.
	ProvenSecondsAgo *float64 `json:"proven_seconds_ago"`
	// Holds: neither owner knows of anything that has happened since and could
	// have made them differ.
	Holds bool `json:"holds"`
}

// PurgeBlocker is a reason why tombstones are not purged.
type PurgeBlocker struct {
	Node   string `json:"node"`
	Reason string `json:"reason"`
}

// RepairOptions say which pairs of owners are meant. Nil and the zero value
// are all.
type RepairOptions struct {
	// Partition, unless nil, is the only one that is meant, 0 or more.
	Partition *int
	// Bucket, unless empty, is the one that is meant. Its keys are in all
	// partitions, so all are compared.
	Bucket string
	// Node, unless empty, is the name or ID of the member whose pairs are
	// meant.
	Node string
}

// RepairStatus is how far the last repair of every member is, with the sums.
type RepairStatus struct {
	// Node is the name of the one that asked the others.
	Node string `json:"node"`
	// Running: the repair of a member runs.
	Running bool `json:"running"`
	RepairCount
	Members []MemberRepair `json:"members"`
	// Unreachable are the members that did not answer.
	Unreachable []string `json:"unreachable"`
}

// RepairCount is how far a repair is.
type RepairCount struct {
	PairsDone  int `json:"pairs_done"`
	PairsTotal int `json:"pairs_total"`
	// KeysShipped and BytesShipped are of objects that replicas lacked.
	KeysShipped  uint64 `json:"keys_shipped"`
	BytesShipped uint64 `json:"bytes_shipped"`
}

// MemberRepair is the last repair of one member.
type MemberRepair struct {
	Node string `json:"node"`
	// ID tells the repairs of a member apart since its start; 0: there was none.
	ID      uint64 `json:"id"`
	Running bool   `json:"running"`
	// Started is zero where there was none.
	Started time.Time `json:"started"`
	RepairCount
	// Unreachable are the members whose pairs could not be compared.
	Unreachable []string `json:"unreachable"`
}

// Convergence asks when every pair of owners was last proven equal, and what
// stands in the way. Any node can say; it asks all others.
func (c *Client) Convergence(ctx context.Context) (*Convergence, error) {
	return ask[Convergence](ctx, c, &call{op: "convergence", method: http.MethodGet, path: "/v1/convergence"})
}

// Repair has the members compare pairs of owners now, which they do unaided
// too. It answers how they begin, and does not wait for them. A node that is
// still at an earlier repair refuses with a [*Problem] of status 409.
func (c *Client) Repair(ctx context.Context, o *RepairOptions) (*RepairStatus, error) {
	query := url.Values{}
	if o != nil {
		if o.Partition != nil {
			query.Set("partition", strconv.Itoa(*o.Partition))
		}
		if o.Bucket != "" {
			if err := checkBucket(o.Bucket); err != nil {
				return nil, err
			}
			query.Set("bucket", o.Bucket)
		}
		if o.Node != "" {
			query.Set("node", o.Node)
		}
	}
	return ask[RepairStatus](ctx, c, &call{op: "repair", method: http.MethodPost, path: "/v1/repair", query: query.Encode()})
}

// RepairStatus asks how far the last repair of every member is.
func (c *Client) RepairStatus(ctx context.Context) (*RepairStatus, error) {
	return ask[RepairStatus](ctx, c, &call{op: "repair-status", method: http.MethodGet, path: "/v1/repair"})
}
