package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
)

// updateRounds bounds how often Update reads anew.
const updateRounds = 4

// Update reads a key, hands the value to fn and writes what fn returns with
// the context of the read, so that the write supersedes all that was read.
// Siblings are merged by [Options.Resolve] first; without one they are a
// [*SiblingsError]. current is nil when the key has no value; fn must not keep
// or change it, and may be called again. An error of fn ends the update and is
// returned; nothing was written then.
//
// Update is no compare-and-swap: a leaderless store has none. Two updates that
// run at once both succeed and leave two siblings, which the next read merges.
// Where the server refuses the write because the key has too many siblings
// (409), or the read because what it asks for is not yet visible (412),
// nothing has happened and Update starts over, a few times at most.
func (c *Client) Update(ctx context.Context, bucket, key string, fn func(current *Value) ([]byte, error)) (*Written, error) {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.opts.Timeout)
		defer cancel()
	}
	for round := 1; ; round++ {
		w, err := c.updateOnce(ctx, bucket, key, fn)
		var p *Problem
		if err == nil || round == updateRounds || MaybeApplied(err) || !errors.As(err, &p) {
			return w, err
		}
		if p.Status != http.StatusConflict && p.Status != http.StatusPreconditionFailed {
			return w, err
		}
	}
}

func (c *Client) updateOnce(ctx context.Context, bucket, key string, fn func(*Value) ([]byte, error)) (*Written, error) {
	put := &PutOptions{}
	current, err := c.Get(ctx, bucket, key, nil)
	var absent *NotFoundError
	switch {
	case errors.As(err, &absent):
		put.Context = absent.Context
	case err != nil:
		return nil, err
	default:
		put.Context, put.ContentType, put.Meta = current.Context, current.ContentType, current.Meta
	}
	data, err := fn(current)
	if err != nil {
		return nil, fmt.Errorf("client: update %s/%q: %w", bucket, key, err)
	}
	return c.Put(ctx, bucket, key, data, put)
}
