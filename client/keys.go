package client

import (
	"context"
	"encoding/base64"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// Bounds of the keys of one request: without values the most that a server
// gives, with values few, so that an attempt is short.
const (
	keysPage       = 1000
	keysValuesPage = 100
)

// KeysOptions refine a [Client.Keys]. Nil and the zero value list all keys at
// quorum.
type KeysOptions struct {
	// Level and R say how many owners of each part of the bucket are read. Those
	// that stand in for others are never asked.
	Level Level
	R     int
	// Timeout is the deadline given to the server for each page. 0: its own.
	Timeout time.Duration
	// Prefix is what the keys begin with, After a key that they come behind in
	// byte order. Each has 1024 bytes at most.
	Prefix, After string
	// Limit, unless 0, is the most keys.
	Limit int
	// Values asks for [Key.Value].
	Values bool
}

// Key is a key of a bucket.
type Key struct {
	Name string
	// Value is nil unless it was asked for. Siblings are not resolved: several
	// are in its Siblings, and its Data is empty then.
	Value *Value
}

// keysDocument is the answer of GET /v1/buckets/{bucket}/keys.
type keysDocument struct {
	Keys       []keyDocument `json:"keys"`
	Next       string        `json:"next"`
	NextBase64 string        `json:"next_base64"`
	Complete   bool          `json:"complete"`
}

type keyDocument struct {
	Key       string `json:"key"`
	KeyBase64 string `json:"key_base64"`
	Context   string `json:"context"`
	siblingJSON
	Siblings []siblingJSON `json:"siblings"`
}

// Keys ranges over the keys of a bucket in byte order. It asks for page after
// page while it goes on, so a key that is written or deleted meanwhile may be in
// the range or not; one that stays is in it once. The first error ends it: an
// [*Error], or one that wraps [ErrInvalid]. Another range may go on behind the
// last key.
func (c *Client) Keys(ctx context.Context, bucket string, o *KeysOptions) iter.Seq2[Key, error] {
	return func(yield func(Key, error) bool) {
		want := KeysOptions{}
		if o != nil {
			want = *o
		}
		for left := want.Limit; ; {
			page, err := c.keysPage(ctx, bucket, &want, left)
			if err != nil {
				yield(Key{}, err)
				return
			}
			for i := range page.Keys {
				key, err := page.Keys[i].key(want.Values)
				if err != nil {
					yield(Key{}, fmt.Errorf("client: keys of %s: %w", bucket, err))
					return
				}
				if !yield(key, nil) {
					return
				}
			}
			if left -= len(page.Keys); page.Complete || want.Limit > 0 && left <= 0 {
				return
			}
		}
	}
}

// keysPage asks for the next page, of left keys at most unless the limit is 0,
// and moves After to its end.
func (c *Client) keysPage(ctx context.Context, bucket string, o *KeysOptions, left int) (*keysDocument, error) {
	limit := keysPage
	if o.Values {
		limit = keysValuesPage
	}
	if o.Limit > 0 {
		limit = min(limit, left)
	}
	k, err := newKeysCall(bucket, o, limit)
	if err != nil {
		return nil, err
	}
	page, err := ask[keysDocument](ctx, c, k)
	if err != nil || page.Complete {
		return page, err
	}
	next, err := eitherText(page.Next, page.NextBase64)
	switch {
	case err != nil:
		return nil, fmt.Errorf("client: keys of %s: next: %w", bucket, err)
	case next <= o.After:
		return nil, fmt.Errorf("client: keys of %s: a page behind %q goes on at %q", bucket, o.After, next)
	}
	o.After = next
	return page, nil
}

func newKeysCall(bucket string, o *KeysOptions, limit int) (*call, error) {
	if err := checkBucket(bucket); err != nil {
		return nil, err
	}
	if o.Limit < 0 || len(o.Prefix) > maxKeyBytes || len(o.After) > maxKeyBytes {
		return nil, fmt.Errorf("%w: a limit of %d, a prefix of %d bytes, after one of %d: not negative, and %d bytes at most",
			ErrInvalid, o.Limit, len(o.Prefix), len(o.After), maxKeyBytes)
	}
	path := "/v1/buckets/" + bucket + "/keys"
	k := &call{op: "keys", method: http.MethodGet, path: path, rawPath: path}
	if err := k.params(Consistency{Level: o.Level, R: o.R}, o.Timeout, 0); err != nil {
		return nil, err
	}
	q := url.Values{"limit": {strconv.Itoa(limit)}}
	if o.Prefix != "" {
		q.Set("prefix", o.Prefix)
	}
	if o.After != "" {
		q.Set("after", o.After)
	}
	if o.Values {
		q.Set("values", "true")
	}
	if k.query != "" {
		k.query += "&"
	}
	k.query += q.Encode()
	return k, nil
}

func (d *keyDocument) key(values bool) (k Key, err error) {
	if k.Name, err = eitherText(d.Key, d.KeyBase64); err != nil || !values {
		return k, err
	}
	k.Value = &Value{Context: d.Context}
	if len(d.Siblings) > 0 {
		return k, k.Value.setSiblings(d.Siblings)
	}
	s, err := d.sibling()
	if err != nil {
		return k, err
	}
	v := k.Value
	v.Data, v.ContentType, v.Meta, v.Modified, v.Expires = s.Data, s.ContentType, s.Meta, s.Modified, s.Expires
	return k, nil
}

// eitherText is a text, or what is in base64 where there is none.
func eitherText(text, encoded string) (string, error) {
	if encoded == "" {
		return text, nil
	}
	b, err := base64.StdEncoding.DecodeString(encoded)
	return string(b), err
}
