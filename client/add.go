package client

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

const (
	// countedOnceFor is how long a cluster knows an increment for certain when it
	// comes again, from when the first attempt began.
	countedOnceFor = 15 * time.Second
	// maxAddTimeout is the longest deadline that a server takes for an increment.
	maxAddTimeout = 10 * time.Second
)

// AddOptions refine a [Client.Add]. Nil and the zero value are quorum writes.
type AddOptions struct {
	// Consistency of the write; R and PR do not apply.
	Consistency Consistency
	// Timeout is the deadline given to the server, 10 s at most.
	// 0: Options.AttemptTimeout, or 10 s if that is longer.
	Timeout time.Duration
	// TTL, when not 0, is how long the counter lives from now on.
	TTL time.Duration
	// IdempotencyKey names this increment. Two with the same key and delta are
	// one, if the second has ended within 15 s of when the first began. Empty:
	// drawn at random, one for all attempts of this call.
	IdempotencyKey string
}

// Counted is what an increment answered.
type Counted struct {
	Written
	// Value is what the counter is where the increment was taken: others may have
	// been made elsewhere that are not in it yet.
	Value int64
}

// Add adds to a counter, in a bucket with conflicts "counter": all increments
// count, from wherever they come, each once. A counter that is not there begins
// at 0. An attempt is repeated only where the cluster still knows the increment
// for certain: none begins that could end later than 15 s after the first began,
// whatever the context allows. After an error for which [MaybeApplied] holds
// nobody knows whether it counts.
func (c *Client) Add(ctx context.Context, bucket, key string, delta int64, o *AddOptions) (*Counted, error) {
	if o == nil {
		o = &AddOptions{}
	}
	k, err := newCall("add", http.MethodPost, bucket, key)
	if err != nil {
		return nil, err
	}
	timeout, until := c.addBounds(o.Timeout)
	if err := k.params(Consistency{Level: o.Consistency.Level, W: o.Consistency.W, PW: o.Consistency.PW, Strict: o.Consistency.Strict}, timeout, o.TTL); err != nil {
		return nil, err
	}
	k.path, k.rawPath, k.until = k.path+"/add", k.rawPath+"/add", until
	k.body = strconv.AppendInt([]byte(`{"delta":`), delta, 10)
	k.body = append(k.body, '}')
	k.header.Set("Content-Type", "application/json")
	k.idempotent(o.IdempotencyKey)
	a, err := c.do(ctx, k)
	if err != nil {
		return nil, err
	}
	var doc struct {
		Value *int64 `json:"value"`
	}
	if err := json.Unmarshal(a.body, &doc); err != nil || doc.Value == nil {
		return nil, &Error{Op: k.op, Bucket: bucket, Key: key, Attempts: 1, MaybeApplied: true, Err: fmt.Errorf("%w: no count in it", errBadAnswer)}
	}
	return &Counted{Written: *a.written(), Value: *doc.Value}, nil
}

// addBounds are the deadline given to the server with each attempt, and the time
// until which one may begin, so that even the last ends in time.
func (c *Client) addBounds(asked time.Duration) (timeout, until time.Duration) {
	if timeout = asked; timeout == 0 {
		timeout = min(c.opts.AttemptTimeout, maxAddTimeout)
	}
	return timeout, c.now() + countedOnceFor - timeout
}
