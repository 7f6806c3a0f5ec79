package e2e

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"starling/cmd/internal/load"
)

// handoffOnly are settings under which a copy comes to its owner by the write
// itself or by a hint, and in no other way.
var handoffOnly = []string{"STARLING_READ_REPAIR_ENABLED=false", "STARLING_ANTIENTROPY_ENABLED=false"}

// onEach calls a verb for several nodes at once.
func (c *cluster) onEach(verb string, nodes ...int) {
	c.t.Helper()
	done := make(chan struct{})
	for _, i := range nodes {
		go func() {
			defer func() { done <- struct{}{} }() // a verb that fails ends its goroutine
			c.run(verb, fmt.Sprint(i))
		}()
	}
	for range nodes {
		<-done
	}
	if c.t.Failed() {
		c.t.FailNow()
	}
}

// others are the nodes that are not in the list.
func (c *cluster) others(nodes []int) []int {
	var rest []int
	for i := 1; i <= c.n; i++ {
		if !slices.Contains(nodes, i) {
			rest = append(rest, i)
		}
	}
	return rest
}

// ownedAlike finds n keys of bucket b that the same nodes own, and these.
func (c *cluster) ownedAlike(n int) (keys []string, owners []int) {
	c.t.Helper()
	for k := 0; len(keys) < n; k++ {
		key := fmt.Sprint("alike-", k)
		own := c.owners(1, "b", key)
		slices.Sort(own)
		if owners == nil {
			owners = own
		}
		if slices.Equal(own, owners) {
			keys = append(keys, key)
		}
	}
	return keys, owners
}

// hints is the answer of GET /v1/hints.
type hints struct {
	Node         string
	Hints, Bytes int64
	Targets      []struct {
		Target, State string
		Hints, Bytes  int64
	}
}

func (c *cluster) hints(i int) (h hints, err error) {
	a, err := c.try("GET", i, "/v1/hints", "")
	if err == nil && a.StatusCode != 200 {
		err = fmt.Errorf("status %d: %s", a.StatusCode, a.body)
	}
	if err == nil {
		err = json.Unmarshal(a.body, &h)
	}
	return h, err
}

// hintsAt are the hints that a node holds for others.
func (c *cluster) hintsAt(i int) hints {
	c.t.Helper()
	h, err := c.hints(i)
	if err != nil {
		c.t.Fatalf("the hints of n%d: %v", i, err)
	}
	return h
}

// awaitNoHints waits until no node holds a hint.
func (c *cluster) awaitNoHints() {
	c.t.Helper()
	last := make([]string, c.n)
	c.eventually("no node holds a hint", func() bool {
		none := true
		for i := range last {
			h, err := c.hints(i + 1)
			last[i] = fmt.Sprintf("n%d: %+v, %v", i+1, h, err)
			none = none && err == nil && h.Hints == 0 && h.Bytes == 0
		}
		return none
	}, func() string { return strings.Join(last, "\n") })
}

// eventually is the other eventually, and says why where it gives up.
func (c *cluster) eventually(what string, holds func() bool, why func() string) {
	c.t.Helper()
	defer func() {
		if c.t.Failed() {
			c.t.Log(why())
		}
	}()
	eventually(c.t, what, holds)
}

// wantAtOwners waits until each owner's own copy of a key is this one value.
func (c *cluster) wantAtOwners(key, value string, owners ...int) {
	c.t.Helper()
	var last string
	c.eventually(fmt.Sprintf("the value of %s at its owners %v", key, owners), func() bool {
		for _, o := range owners {
			a, err := c.try("GET", o, keys+key+"?consistency=one", "")
			if err != nil || a.StatusCode != 200 || string(a.body) != value {
				last = fmt.Sprintf("n%d: %v, %s", o, err, a.text())
				return false
			}
		}
		return true
	}, func() string { return last + "\n" + c.explain("b", key) })
}

// text is the answer for a message.
func (a answer) text() string {
	if a.Response == nil {
		return "no answer"
	}
	return fmt.Sprintf("status %d: %s", a.StatusCode, bytes.TrimSpace(tail(a.body, 600)))
}

// explain is what the first node that answers tells of a key.
func (c *cluster) explain(bucket, key string) string {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	var errs []error
	for i := 1; i <= c.n; i++ {
		req, err := http.NewRequestWithContext(ctx, "GET", c.url(i, "/v1/explain/"+bucket+"/"+key), nil)
		if err != nil {
			return err.Error()
		}
		a, err := c.send(req)
		if err == nil && a.StatusCode == 200 {
			var pretty bytes.Buffer
			_ = json.Indent(&pretty, a.body, "", "  ") // what is no JSON is shown as nothing
			return pretty.String()
		}
		errs = append(errs, cmp.Or(err, fmt.Errorf("n%d: %s", i, a.text())))
	}
	return "no node explains " + key + ": " + errors.Join(errs...).Error()
}

// doAbout is do for a key of bucket b: where it fails the key is explained.
func (c *cluster) doAbout(want int, method string, i int, key, query, body string, header ...string) answer {
	c.t.Helper()
	a, err := c.try(method, i, keys+key+query, body, header...)
	if err != nil || a.StatusCode != want {
		c.t.Fatalf("%s %s%s at n%d: %v, %s; want %d\n%s", method, key, query, i, err, a.text(), want, c.explain("b", key))
	}
	return a
}

// receipt is the answer to a put that prefers a representation.
type receipt struct {
	Dot                     string
	Acked, Hinted, Required int
	Coordinator             string
	Replicas                []struct{ Node, Outcome, Holder string }
}

func (c *cluster) put(i int, key, query, value string, header ...string) (receipt, answer) {
	c.t.Helper()
	a := c.doAbout(200, "PUT", i, key, query, value, append(header, "Prefer", "return=representation")...)
	var r receipt
	if err := json.Unmarshal(a.body, &r); err != nil {
		c.t.Fatalf("receipt %s: %v", a.body, err)
	}
	return r, a
}

// wantRefused checks a refusal: its kind, and that it says when to try again
// and whether the write may have been applied.
func (c *cluster) wantRefused(a answer, kinds ...string) {
	c.t.Helper()
	p := a.problem(c.t)
	if a.StatusCode != 503 || a.Header.Get("Retry-After") == "" || p.MaybeApplied == nil || !slices.Contains(kinds, p.Type) {
		c.t.Errorf("%s with Retry-After %q; want a 503 of type %v that says when to try again and whether the write may have been applied",
			a.text(), a.Header.Get("Retry-After"), kinds)
	}
}

// clients are the load generator's clients for all nodes.
func (c *cluster) clients(o load.ClientOptions) *load.Clients {
	c.t.Helper()
	for i := 1; i <= c.n; i++ {
		o.Endpoints = append(o.Endpoints, c.url(i, ""))
	}
	clients, err := load.NewClients(o)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(clients.Close)
	c.t.Cleanup(func() {
		if c.t.Failed() {
			c.t.Logf("failed requests, in order:\n%s", strings.Join(clients.Failures(), "\n"))
		}
	})
	return clients
}

// drive runs clients until stop is called, at the latest by the test's end.
func drive(t *testing.T, clients *load.Clients) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		clients.Run(ctx)
	}()
	stop = func() {
		cancel()
		<-ended
	}
	t.Cleanup(stop)
	return stop
}

// awaitRequests waits until so many more requests have ended.
func awaitRequests(t *testing.T, clients *load.Clients, n int64) {
	t.Helper()
	target := clients.Done() + n
	eventually(t, fmt.Sprintf("%d more requests", n), func() bool { return clients.Done() >= target })
}

// wantAllAcknowledged checks every acknowledged put at all owners. What a
// coordinator was still sending when the clients ended may arrive later.
func (c *cluster) wantAllAcknowledged(clients *load.Clients) {
	c.t.Helper()
	var check load.Check
	var err error
	c.eventually("every acknowledged write at all its owners", func() bool {
		check, err = clients.Verify(c.t.Context())
		return err == nil && len(check.Findings) == 0
	}, func() string {
		var b strings.Builder
		fmt.Fprintf(&b, "%d findings in %d copies of %d keys, %v\n", len(check.Findings), check.Copies, check.Keys, err)
		for _, f := range check.Findings[:min(len(check.Findings), 3)] {
			fmt.Fprintf(&b, "%s\n%s\n", f, c.explain("faults", f.Key))
		}
		return b.String()
	})
	if check.Keys == 0 {
		c.t.Error("no write was acknowledged")
	}
	c.t.Logf("%d keys, %d copies, %d of them with siblings", check.Keys, check.Copies, check.Siblings)
}

// logOf is the log of a node.
func (c *cluster) logOf(i int) string {
	c.t.Helper()
	text, err := os.ReadFile(filepath.Join(c.home, fmt.Sprint("n", i), "log"))
	if err != nil {
		c.t.Fatal(err)
	}
	return string(text)
}
