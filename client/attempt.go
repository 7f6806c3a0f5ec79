package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync/atomic"
	"time"
)

const (
	longestBackoff = 2 * time.Second
	// maxProblemBytes bounds the body of an error answer.
	maxProblemBytes = 64 << 10
	// deadlineSlack is how much longer than the server's own deadline an
	// attempt waits for the answer that says what became of the request.
	deadlineSlack = 500 * time.Millisecond
)

// answer is a whole response.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// outcome is what one attempt came to: an answer that ends the call, or an
// error.
type outcome struct {
	answer *answer
	err    error
	// maybe is set when a write may have taken effect.
	maybe bool
	// again is set when another attempt may fare better.
	again bool
	// pause is the least time before that attempt, wherever it goes.
	pause time.Duration
	// quick is set when the fault may be the endpoint's alone: with another
	// endpoint at hand there is nothing to wait for.
	quick bool
}

// do sends a request until an attempt ends it, within the bounds of the
// context, the time and the number of attempts.
func (c *Client) do(ctx context.Context, k *call) (*answer, error) {
	if c.life.Err() != nil {
		return nil, ErrClosed
	}
	if err := k.checkHeader(); err != nil {
		return nil, err
	}
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, max(c.opts.Timeout, k.timeout+deadlineSlack))
		defer cancel()
	}
	c.refresh()
	fail := &Error{Op: k.op, Bucket: k.bucket, Key: k.key}
	hash, turn := keyHash(k.bucket, k.key), c.turn.Add(1)
	var tried []*endpoint
	for {
		// A put prefers the first owner, so that one replica mints a key's
		// dots and its vector stays short; reads spread over all owners.
		e, _ := c.routesOf(k).pick(hash, turn, !k.write, tried, c.now())
		out := c.attempt(ctx, k, e)
		fail.Attempts++
		fail.MaybeApplied = fail.MaybeApplied || out.maybe
		if out.err == nil {
			return out.answer, nil
		}
		if errors.Is(out.err, ErrNotFound) {
			return nil, out.err
		}
		fail.Err = out.err
		tried = append(tried, e)
		if !out.again || fail.Attempts >= c.opts.Attempts || !c.pause(ctx, k, turn, tried, out) || c.late(k) {
			break
		}
	}
	if cause := context.Cause(ctx); cause != nil && !errors.Is(fail.Err, cause) {
		fail.Err = fmt.Errorf("%w; last: %w", cause, fail.Err)
	}
	return nil, fail
}

// late reports whether the time is over in which attempts may begin.
func (c *Client) late(k *call) bool { return k.until != 0 && c.now() > k.until }

// routesOf is where a call can go.
func (c *Client) routesOf(k *call) *routes {
	r := c.routes.Load()
	switch {
	case k.only != nil:
		return &routes{all: []*endpoint{k.only}}
	case k.bucket == "":
		return &routes{all: r.all}
	default:
		return r
	}
}

// pause waits before the next attempt. It reports false when the context ends
// first, and at once when it would end before the pause does.
func (c *Client) pause(ctx context.Context, k *call, turn uint64, tried []*endpoint, out outcome) bool {
	if ctx.Err() != nil {
		return false
	}
	longest := min(c.opts.Backoff<<min(len(tried)-1, 10), longestBackoff)
	wait := longest/2 + rand.N(longest/2+1)
	if out.quick {
		if _, fresh := c.routesOf(k).pick(keyHash(k.bucket, k.key), turn, false, tried, c.now()); fresh {
			return true
		}
	}
	wait = max(wait, out.pause)
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) <= wait {
		return false
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// attempt sends a request once to one endpoint and judges what came of it.
func (c *Client) attempt(ctx context.Context, k *call, e *endpoint) outcome {
	limit := c.opts.AttemptTimeout
	if k.timeout > 0 {
		limit = k.timeout + deadlineSlack
	}
	within, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var sent atomic.Bool
	sent.Store(!c.traced)
	if k.write && c.traced {
		within = httptrace.WithClientTrace(within, &httptrace.ClientTrace{
			GotConn: func(httptrace.GotConnInfo) { sent.Store(true) },
		})
	}
	a, err := c.send(within, k, e)
	switch {
	case errors.Is(err, ErrTooLarge):
		// The node is well and did what was asked; another answers the same.
		return outcome{err: err, maybe: k.write}
	case err != nil:
		return c.broken(ctx, k, e, err, sent.Load())
	}
	return c.judge(k, e, a)
}

// broken judges an attempt without an answer.
func (c *Client) broken(ctx context.Context, k *call, e *endpoint, err error, sent bool) outcome {
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "dial" {
		sent = false
	}
	out := outcome{maybe: k.write && sent}
	if ctx.Err() != nil {
		// The caller gave up: that says nothing of the node.
		out.err = err
		return out
	}
	aside := e.failed(c.now())
	c.opts.Logger.Debug("node set aside", "node", e.url.Host, "for", aside, "err", err)
	c.suspect()
	out.err = fmt.Errorf("%w: %w", ErrUnreachable, err)
	out.again, out.quick = true, true
	return out
}

// judge tells an answer that ends the call from one that asks for another
// attempt.
func (c *Client) judge(k *call, e *endpoint, a *answer) outcome {
	e.answered()
	if a.status < 400 && a.status != http.StatusNotModified {
		return outcome{answer: a}
	}
	p := a.problem(time.Now())
	if token, ok := a.header[headerContext]; a.status == http.StatusNotFound && (ok || p.Type == problemAbsent) {
		return outcome{err: &NotFoundError{Bucket: k.bucket, Key: k.key, Context: strings.Join(token, "")}}
	}
	out := outcome{err: p, maybe: k.write && p.MaybeApplied}
	switch a.status {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		out.again, out.pause = true, p.RetryAfter
		// Nothing happened: another node may reach what this one does not.
		out.quick = !p.MaybeApplied
		if out.quick && p.Required == 0 && p.RetryAfter > 0 {
			// The node refused for its own sake, not for the key's.
			e.refused(c.now(), p.RetryAfter)
		}
	}
	return out
}

// send does one exchange and reads the answer whole.
func (c *Client) send(ctx context.Context, k *call, e *endpoint) (*answer, error) {
	u := e.url
	u.Path, u.RawPath, u.RawQuery = k.path, k.rawPath, k.query
	req := (&http.Request{
		Method: k.method, URL: &u, Host: u.Host, Header: k.header.Clone(),
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
	}).WithContext(ctx)
	if k.method == http.MethodPut || k.body != nil {
		req.ContentLength = int64(len(k.body))
		req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(k.body)), nil }
		req.Body, _ = req.GetBody()
		if len(k.body) == 0 {
			req.Body = http.NoBody
		}
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	a := &answer{status: resp.StatusCode, header: resp.Header}
	bound := c.opts.MaxAnswerBytes
	if a.status >= 400 {
		bound = maxProblemBytes
	}
	a.body, err = readBody(resp, bound)
	if err != nil && a.status >= 400 {
		// The status says enough.
		return a, nil
	}
	return a, err
}
