package client

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Level is a named consistency level. The empty Level leaves the choice to the
// server, which takes quorum.
type Level string

// The consistency levels: how many replicas must answer a read or acknowledge
// a write. Any accepts a hint on any node, for writes.
const (
	One    Level = "one"
	Two    Level = "two"
	Three  Level = "three"
	Quorum Level = "quorum"
	All    Level = "all"
	Any    Level = "any"
)

// Consistency says how many replicas a request must hear from. A number that
// is not zero wins over Level; see Dynamo, section 4.5.
type Consistency struct {
	Level Level
	// R and W count replicas that answer a read or acknowledge a write, 1..N.
	R, W int
	// PR and PW count the same among the key's owners alone, fallbacks left
	// out, 1..N.
	PR, PW int
	// Strict forbids fallbacks (sloppy=false).
	Strict bool
}

// GetOptions refine a [Client.Get]. Nil and the zero value are quorum reads.
type GetOptions struct {
	// Consistency of the read; W and PW do not apply.
	Consistency Consistency
	// Timeout is the deadline given to the server. 0: the server's own.
	Timeout time.Duration
	// Context asks for nothing older than what it has seen. The answer is a
	// problem with status 412 where no replica in reach has that.
	Context string
	// Resolve takes the place of [Options.Resolve] for this call.
	Resolve Resolver
}

// PutOptions refine a [Client.Put]. Nil and the zero value are quorum writes
// that supersede nothing.
type PutOptions struct {
	// Consistency of the write; R and PR do not apply.
	Consistency Consistency
	// Timeout is the deadline given to the server. 0: the server's own.
	Timeout time.Duration
	// Context is what the write supersedes: the Context of the [Value] or
	// [Written] that it follows.
	Context string
	// ContentType is kept with the value. Empty: application/octet-stream.
	ContentType string
	// Meta is kept with the value. Names are header tokens without regard to
	// case; Get answers them in lower case.
	Meta map[string]string
	// TTL, when not 0, is how long the value lives.
	TTL time.Duration
	// IdempotencyKey names this put. Two puts with the same key and value are
	// one. Empty: drawn at random, one for all attempts of this call.
	IdempotencyKey string
	// Receipt asks for [Written.Receipt].
	Receipt bool
}

// DeleteOptions refine a [Client.Delete]. Without a Context the server deletes
// what a read at this consistency sees.
type DeleteOptions struct {
	// Consistency of the delete; R and PR are those of the read that comes
	// first when there is no Context, and do not apply when there is one.
	Consistency Consistency
	// Timeout is the deadline given to the server. 0: the server's own.
	Timeout time.Duration
	// Context is what the delete supersedes.
	Context string
	// IdempotencyKey names this delete. Empty: drawn at random.
	IdempotencyKey string
}

// Bounds that the server also holds, checked here so that a mistake costs no
// round trip.
const (
	maxBucketBytes = 64
	maxKeyBytes    = 1024
)

// call is one request, as it is sent on every attempt.
type call struct {
	op      string
	method  string
	bucket  string // of the key that it is about; else empty
	key     string
	path    string // decoded
	rawPath string // as it is sent
	query   string
	only    *endpoint // the node to ask; nil: any
	header  http.Header
	body    []byte
	write   bool
	timeout time.Duration // the server's deadline; 0: its own
	until   time.Duration // by [Client.now]: no attempt begins after it; 0: no such bound
}

// newCall checks the names and the numbers of a request.
func newCall(op, method, bucket, key string) (*call, error) {
	if err := checkNames(bucket, key); err != nil {
		return nil, err
	}
	prefix := "/v1/buckets/" + bucket + "/keys/"
	return &call{
		op: op, method: method, bucket: bucket, key: key,
		path: prefix + key, rawPath: prefix + EscapeKey(key),
		header: make(http.Header, 4),
		write:  method != http.MethodGet,
	}, nil
}

// checkNames refuses a bucket or a key that no node would take.
func checkNames(bucket, key string) error {
	if err := checkBucket(bucket); err != nil {
		return err
	}
	if len(key) == 0 || len(key) > maxKeyBytes {
		return fmt.Errorf("%w: the key has %d bytes; 1 to %d are allowed", ErrInvalid, len(key), maxKeyBytes)
	}
	return nil
}

func checkBucket(bucket string) error {
	if len(bucket) == 0 || len(bucket) > maxBucketBytes {
		return fmt.Errorf("%w: the bucket's name has %d bytes; 1 to %d are allowed", ErrInvalid, len(bucket), maxBucketBytes)
	}
	for i := range len(bucket) {
		if c := bucket[i]; !alphanumeric(c) && c != '.' && c != '_' && c != '-' {
			return fmt.Errorf("%w: the bucket's name has %q; A-Z a-z 0-9 . _ - are allowed", ErrInvalid, c)
		}
	}
	return nil
}

// params sets the query and the server's deadline.
func (k *call) params(c Consistency, timeout, ttl time.Duration) error {
	if timeout < 0 || ttl < 0 {
		return fmt.Errorf("%w: a timeout or TTL must not be negative", ErrInvalid)
	}
	q := url.Values{}
	if c.Level != "" {
		q.Set("consistency", string(c.Level))
	}
	for _, n := range []struct {
		name  string
		value int
	}{{"r", c.R}, {"w", c.W}, {"pr", c.PR}, {"pw", c.PW}} {
		if n.value < 0 {
			return fmt.Errorf("%w: %s is %d; a count of replicas is 1 or more", ErrInvalid, n.name, n.value)
		}
		if n.value > 0 {
			q.Set(n.name, strconv.Itoa(n.value))
		}
	}
	if c.Strict {
		q.Set("sloppy", "false")
	}
	if timeout > 0 {
		q.Set("timeout", timeout.String())
	}
	if ttl > 0 {
		q.Set("ttl", ttl.String())
	}
	k.query, k.timeout = q.Encode(), timeout
	return nil
}

// set adds a header unless it is empty.
func (k *call) set(name, value string) {
	if value != "" {
		k.header.Set(name, value)
	}
}

// idempotent gives the call its idempotency key.
func (k *call) idempotent(key string) {
	if key == "" {
		key = newIdempotencyKey()
	}
	k.header.Set("Idempotency-Key", key)
}

// newIdempotencyKey draws 128 bits: two clients never draw the same key.
func newIdempotencyKey() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // crypto/rand.Read never fails: it ends the process instead
	return hex.EncodeToString(b[:])
}

// checkHeader refuses what net/http would refuse later, after the request had
// counted as an attempt whose outcome is unknown.
func (k *call) checkHeader() error {
	for name, values := range k.header {
		if !isToken(name) {
			return fmt.Errorf("%w: %q is no header name", ErrInvalid, name)
		}
		for _, v := range values {
			if strings.ContainsFunc(v, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
				return fmt.Errorf("%w: the value of %s has a control character", ErrInvalid, name)
			}
		}
	}
	return nil
}

func alphanumeric(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

func isToken(s string) bool {
	for i := range len(s) {
		if !alphanumeric(s[i]) && !strings.ContainsRune("!#$%&'*+-.^_`|~", rune(s[i])) {
			return false
		}
	}
	return s != ""
}

// Get reads a key. It answers a [*NotFoundError] (errors.Is [ErrNotFound])
// when there is no value, and a [*SiblingsError] when there are several and no
// resolver. Every other error is an [*Error] or wraps [ErrInvalid].
func (c *Client) Get(ctx context.Context, bucket, key string, o *GetOptions) (*Value, error) {
	k, err := newGetCall("get", bucket, key, o)
	if err != nil {
		return nil, err
	}
	a, err := c.do(ctx, k)
	if err != nil {
		return nil, err
	}
	resolve := c.opts.Resolve
	if o != nil && o.Resolve != nil {
		resolve = o.Resolve
	}
	v, err := a.value(resolve)
	if err != nil {
		return nil, fmt.Errorf("client: get %s/%q: %w", bucket, key, err)
	}
	return v, nil
}

// Previous gives what lost against the newest value of a key, in a bucket with
// conflicts "lww": the last three at most, newest first, each for ten minutes
// after the write that won over it. There may be none, as there may be no value;
// Context covers all of them. The errors are those of [Client.Get], without
// [*NotFoundError] and [*SiblingsError].
func (c *Client) Previous(ctx context.Context, bucket, key string, o *GetOptions) (*Previous, error) {
	k, err := newGetCall("previous", bucket, key, o)
	if err != nil {
		return nil, err
	}
	if k.query != "" {
		k.query += "&"
	}
	k.query += "previous=true"
	a, err := c.do(ctx, k)
	if err != nil {
		return nil, err
	}
	p, err := a.previous()
	if err != nil {
		return nil, fmt.Errorf("client: previous %s/%q: %w", bucket, key, err)
	}
	return p, nil
}

func newGetCall(op, bucket, key string, o *GetOptions) (*call, error) {
	k, err := newCall(op, http.MethodGet, bucket, key)
	if err != nil {
		return nil, err
	}
	if o == nil {
		o = &GetOptions{}
	}
	if err := k.params(Consistency{Level: o.Consistency.Level, R: o.Consistency.R, PR: o.Consistency.PR, Strict: o.Consistency.Strict}, o.Timeout, 0); err != nil {
		return nil, err
	}
	k.header.Set("Accept", acceptSiblings)
	k.set(headerContext, o.Context)
	return k, nil
}

// Put writes a value. An error says through [MaybeApplied] whether the write
// may have happened all the same.
func (c *Client) Put(ctx context.Context, bucket, key string, data []byte, o *PutOptions) (*Written, error) {
	if o == nil {
		o = &PutOptions{}
	}
	k, err := newCall("put", http.MethodPut, bucket, key)
	if err != nil {
		return nil, err
	}
	if err := k.params(Consistency{Level: o.Consistency.Level, W: o.Consistency.W, PW: o.Consistency.PW, Strict: o.Consistency.Strict}, o.Timeout, o.TTL); err != nil {
		return nil, err
	}
	k.body = data
	k.header.Set("Content-Type", "application/octet-stream")
	k.set("Content-Type", o.ContentType)
	k.set(headerContext, o.Context)
	k.idempotent(o.IdempotencyKey)
	for name, value := range o.Meta {
		k.header.Set(headerMeta+name, value)
	}
	if o.Receipt {
		k.header.Set("Prefer", "return=representation")
	}
	a, err := c.do(ctx, k)
	if err != nil {
		return nil, err
	}
	w := a.written()
	if o.Receipt {
		w.Receipt = a.receipt()
	}
	return w, nil
}

// Delete removes a key. Deleting what is not there is no error.
func (c *Client) Delete(ctx context.Context, bucket, key string, o *DeleteOptions) (*Written, error) {
	if o == nil {
		o = &DeleteOptions{}
	}
	k, err := newCall("delete", http.MethodDelete, bucket, key)
	if err != nil {
		return nil, err
	}
	consistency := o.Consistency
	if o.Context != "" {
		consistency.R, consistency.PR = 0, 0
	}
	if err := k.params(consistency, o.Timeout, 0); err != nil {
		return nil, err
	}
	k.set(headerContext, o.Context)
	k.idempotent(o.IdempotencyKey)
	a, err := c.do(ctx, k)
	if err != nil {
		return nil, err
	}
	return a.written(), nil
}
