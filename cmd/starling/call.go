package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"starling/client"
)

const (
	defaultTimeout = client.DefaultTimeout
	// answerSlack is how much longer than the cluster's own deadline a
	// command waits for the answer.
	answerSlack = time.Second
	// askTimeout bounds one node's answer to a question about the cluster,
	// so that one that hangs leaves time for the others.
	askTimeout = 3 * time.Second
	// maxAnswerBytes bounds an answer about the cluster.
	maxAnswerBytes = 64 << 20
	callAttempts   = 3
)

var levels = []string{"one", "two", "three", "quorum", "all", "any"}

// quorumFlags are the flags that say how many replicas a request needs.
type quorumFlags struct {
	level        string
	r, w, pr, pw int
	sloppy       bool
}

// add defines the flags: those of reads, those of writes, or both.
func (q *quorumFlags) add(cmd *cobra.Command, reads, writes bool) {
	f := cmd.Flags()
	f.StringVar(&q.level, "consistency", "", "consistency `level`: "+strings.Join(levels, ", ")+" (default quorum; any is for writes)")
	if reads {
		f.IntVar(&q.r, "r", 0, "replicas that must answer the read; wins over --consistency")
		f.IntVar(&q.pr, "pr", 0, "owners, fallbacks left out, that must answer the read")
	}
	if writes {
		f.IntVar(&q.w, "w", 0, "replicas that must acknowledge the write; wins over --consistency")
		f.IntVar(&q.pw, "pw", 0, "owners, fallbacks left out, that must acknowledge the write")
	}
	f.BoolVar(&q.sloppy, "sloppy", true, "let other nodes stand in for owners that are down")
	complete(cmd, "consistency", levels...)
}

// consistency checks what was given.
func (q *quorumFlags) consistency(f *pflag.FlagSet, writes bool) (client.Consistency, error) {
	c := client.Consistency{Level: client.Level(q.level), R: q.r, W: q.w, PR: q.pr, PW: q.pw, Strict: !q.sloppy}
	if q.level != "" {
		if err := checkLevel(q.level, writes); err != nil {
			return c, err
		}
	}
	for name, n := range map[string]int{"r": q.r, "w": q.w, "pr": q.pr, "pw": q.pw} {
		if f.Lookup(name) != nil && f.Changed(name) && n < 1 {
			return c, usagef("--%s %d: 1 up to the number of replicas is allowed", name, n)
		}
	}
	return c, nil
}

func checkLevel(level string, writes bool) error {
	for _, known := range levels {
		if level == known && (writes || level != "any") {
			return nil
		}
	}
	allowed := levels
	if !writes {
		allowed = levels[:len(levels)-1]
	}
	return usagef("--consistency %s: %s are allowed here", level, strings.Join(allowed, ", "))
}

// dial makes the client of one request, which needs no ring.
func (a *app) dial() (*client.Client, error) {
	return client.New(client.Options{Endpoints: a.endpoints(), DisableRing: true, Attempts: callAttempts})
}

// within bounds a command by --timeout, with time for the answer that says
// that the time was over.
func (a *app) within(ctx context.Context) (context.Context, context.CancelFunc) {
	if a.timeout > 0 {
		return context.WithTimeout(ctx, a.timeout+answerSlack)
	}
	return context.WithTimeout(ctx, defaultTimeout)
}

// ask fetches a JSON document about the cluster from the first endpoint that
// has it.
func (a *app) ask(ctx context.Context, path string, doc any) error {
	return a.askAny(ctx, http.MethodGet, path, doc)
}

// askAny sends a request to one endpoint after the other, until one answers
// with what was asked for.
func (a *app) askAny(ctx context.Context, method, path string, doc any) error {
	return a.askOf(ctx, a.endpoints(), method, path, doc)
}

// askOf is askAny at other endpoints than those of the command line.
func (a *app) askOf(ctx context.Context, endpoints []string, method, path string, doc any) error {
	ctx, cancel := a.within(ctx)
	defer cancel()
	var err error
	for _, endpoint := range endpoints {
		if err = askOne(ctx, method, endpoint, path, doc); err == nil {
			return nil
		}
	}
	return err
}

// askOne sends a request without a body to one node, and reads the JSON
// document that it answers.
func askOne(ctx context.Context, method, endpoint, path string, doc any) error {
	return askWith(ctx, method, endpoint, path, nil, doc)
}

// askWith is askOne with a body, unless that is empty.
func askWith(ctx context.Context, method, endpoint, path string, request []byte, doc any) error {
	body, err := send(ctx, askTimeout, method, endpoint, path, request)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(body, doc); err != nil {
		return fmt.Errorf("%s %s%s: not the answer of a Starling node: %w", method, endpoint, path, err)
	}
	return nil
}

// fetch sends a request without a body to one node, and reads what it answers.
func fetch(ctx context.Context, method, endpoint, path string) ([]byte, error) {
	return fetchWithin(ctx, askTimeout, method, endpoint, path)
}

// fetchWithin is fetch with more time, or less.
func fetchWithin(ctx context.Context, timeout time.Duration, method, endpoint, path string) ([]byte, error) {
	return send(ctx, timeout, method, endpoint, path, nil)
}

// send sends a request to one node, with a body of JSON unless that is empty,
// and reads what it answers.
func send(ctx context.Context, timeout time.Duration, method, endpoint, path string, request []byte) ([]byte, error) {
	u, err := client.ParseEndpoint(endpoint)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, u.String()+path, bytes.NewReader(request))
	if err != nil {
		return nil, err
	}
	if len(request) > 0 {
		req.Header.Set("Content-Type", "application/json")
	}
	what := method + " " + endpoint + path
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", client.ErrUnreachable, what, err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswerBytes))
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", client.ErrUnreachable, what, err)
	}
	if resp.StatusCode >= http.StatusMultipleChoices {
		p := &client.Problem{}
		if strings.HasPrefix(resp.Header.Get("Content-Type"), "application/problem+json") {
			_ = json.Unmarshal(body, p) // what it does not have stays empty
		}
		p.Status = resp.StatusCode
		return nil, fmt.Errorf("%s: %w", what, p)
	}
	return body, nil
}
