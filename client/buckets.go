package client

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

// bucketTimeout is the longest that a node takes over a change of a bucket; see
// the HTTP interface.
const bucketTimeout = 2 * time.Second

// Bucket is what a cluster knows of a bucket.
type Bucket struct {
	Name string
	// Declared: somebody gave it properties. If not they are the defaults.
	Declared bool
	// Incarnation counts how often it was dropped.
	Incarnation uint64
	Properties  BucketProperties
	// Pending are, after a change, the names of the members that have not
	// confirmed it: they learn of it later.
	Pending []string
}

// BucketProperties are what a bucket differs in. The zero value of each is the
// default.
type BucketProperties struct {
	// Conflicts says what becomes of concurrent writes of one key: "siblings",
	// "lww", "max", "min", "union", "json-merge" or "counter".
	Conflicts string
	// Consistency is that of requests that name none. R and W, 1 up to the
	// replicas of a key, win over it.
	Consistency Level
	R, W        int
	// TTL is how long a value is kept that is put without a time of its own.
	TTL time.Duration
	// MaxSiblings and MaxValueBytes bound what a put may bring a key to.
	MaxSiblings   int
	MaxValueBytes int64
}

// bucketDoc is a bucket as the HTTP interface has it.
type bucketDoc struct {
	Name        string         `json:"name"`
	Declared    bool           `json:"declared"`
	Incarnation uint64         `json:"incarnation"`
	Properties  *propertiesDoc `json:"properties"`
	Pending     []string       `json:"pending,omitempty"`
}

// propertiesDoc leaves out what is the default.
type propertiesDoc struct {
	Conflicts     string `json:"conflicts,omitempty"`
	Consistency   Level  `json:"consistency,omitempty"`
	R             int    `json:"r,omitempty"`
	W             int    `json:"w,omitempty"`
	TTL           string `json:"ttl,omitempty"`
	MaxSiblings   int    `json:"max_siblings,omitempty"`
	MaxValueBytes int64  `json:"max_value_bytes,omitempty"`
}

// UnmarshalJSON reads a bucket as the HTTP interface has it.
func (b *Bucket) UnmarshalJSON(text []byte) error {
	doc := bucketDoc{Properties: new(propertiesDoc)}
	if err := json.Unmarshal(text, &doc); err != nil {
		return err
	}
	*b = Bucket{Name: doc.Name, Declared: doc.Declared, Incarnation: doc.Incarnation, Pending: doc.Pending}
	if d := doc.Properties; d != nil {
		b.Properties = BucketProperties{Conflicts: d.Conflicts, Consistency: d.Consistency, R: d.R, W: d.W,
			MaxSiblings: d.MaxSiblings, MaxValueBytes: d.MaxValueBytes}
		if d.TTL != "" {
			var err error
			if b.Properties.TTL, err = time.ParseDuration(d.TTL); err != nil {
				return fmt.Errorf("client: ttl of bucket %s: %w", doc.Name, err)
			}
		}
	}
	return nil
}

// MarshalJSON writes a bucket as the HTTP interface has it, but for defaults,
// which are left out.
func (b Bucket) MarshalJSON() ([]byte, error) {
	return json.Marshal(bucketDoc{Name: b.Name, Declared: b.Declared, Incarnation: b.Incarnation,
		Properties: b.Properties.doc(), Pending: b.Pending})
}

func (p BucketProperties) doc() *propertiesDoc {
	d := &propertiesDoc{Conflicts: p.Conflicts, Consistency: p.Consistency, R: p.R, W: p.W,
		MaxSiblings: p.MaxSiblings, MaxValueBytes: p.MaxValueBytes}
	if p.TTL != 0 {
		d.TTL = p.TTL.String()
	}
	return d
}

// Buckets lists the buckets that were declared and those that were dropped once,
// by name. Others have the defaults, whatever is in them.
func (c *Client) Buckets(ctx context.Context) ([]Bucket, error) {
	doc, err := ask[struct {
		Buckets []Bucket `json:"buckets"`
	}](ctx, c, &call{op: "buckets", method: http.MethodGet, path: "/v1/buckets"})
	if err != nil {
		return nil, err
	}
	return doc.Buckets, nil
}

// ShowBucket asks for the properties of a bucket, which every name has.
func (c *Client) ShowBucket(ctx context.Context, name string) (*Bucket, error) {
	if err := checkBucket(name); err != nil {
		return nil, err
	}
	return ask[Bucket](ctx, c, &call{op: "bucket", method: http.MethodGet, path: "/v1/buckets/" + name})
}

// CreateBucket declares a bucket, or gives a declared one other properties, all
// of them: what is zero is the default. That is in force at every member that is
// not pending when it returns. How a declared bucket resolves conflicts can only
// change between "siblings" and "lww"; else the answer is a [*Problem] of status
// 409. What was written before stays as it is.
func (c *Client) CreateBucket(ctx context.Context, name string, p BucketProperties) (*Bucket, error) {
	if err := checkBucket(name); err != nil {
		return nil, err
	}
	k := &call{op: "create-bucket", method: http.MethodPut, path: "/v1/buckets/" + name, write: true, timeout: bucketTimeout}
	var err error
	if k.body, err = json.Marshal(p.doc()); err != nil { // strings and numbers cannot fail
		panic(err)
	}
	return ask[Bucket](ctx, c, k)
}

// DropBucket makes a bucket empty, with the defaults, for good: what was in it
// cannot be read any more when it returns, but at members that are cut off from
// all others. pending are the names of those that have not confirmed, being down
// for example; they learn of it when they are back. A bucket that is empty may be
// dropped too. A call that is repeated, because its answer was lost, drops what
// was written since the first as well.
func (c *Client) DropBucket(ctx context.Context, name string) (pending []string, err error) {
	if err := checkBucket(name); err != nil {
		return nil, err
	}
	k := &call{op: "drop-bucket", method: http.MethodDelete, path: "/v1/buckets/" + name, write: true, timeout: bucketTimeout, header: make(http.Header)}
	a, err := c.do(ctx, k)
	if err != nil || a.status == http.StatusNoContent {
		return nil, err
	}
	var doc struct {
		Pending []string `json:"pending"`
	}
	if err := json.Unmarshal(a.body, &doc); err != nil {
		return nil, fmt.Errorf("client: %s: %w", k.op, err)
	}
	return doc.Pending, nil
}
