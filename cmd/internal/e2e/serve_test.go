package e2e

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"strings"
	"sync"
	"testing"
)

const keys = "/v1/buckets/b/keys/"

func TestAnyNodeTakesAnyKeyAndOneMayBeDown(t *testing.T) {
	t.Parallel()
	c := up(t, 5)
	for _, level := range []string{"one", "quorum", "all"} {
		for i := 1; i <= 5; i++ {
			path := fmt.Sprintf("%sk-%s-%d?consistency=%s", keys, level, i, level)
			c.do(204, "PUT", i, path, level)
			// A get at one may ask a replica that the put has not reached yet.
			eventually(t, "the value at "+level, func() bool {
				a, err := c.try("GET", i%5+1, path, "")
				if level != "one" && (err != nil || a.StatusCode != 200) {
					t.Fatalf("GET %s: %v %d", path, err, a.StatusCode)
				}
				return err == nil && string(a.body) == level
			})
		}
	}
	owners := c.owners(1, "b", "k")
	down := owners[0]
	c.do(204, "PUT", down, keys+"k?consistency=all", "before")
	c.run("kill", fmt.Sprint(down))
	for i := 1; i <= 5; i++ {
		if i == down {
			continue
		}
		value := fmt.Sprint("from n", i)
		seen := c.do(200, "GET", i, keys+"k", "")
		c.do(204, "PUT", i, keys+"k", value, "X-Starling-Context", seen.context())
		if a := c.do(200, "GET", i, keys+"k", ""); string(a.body) != value {
			t.Fatalf("n%d read %q, want %q", i, a.body, value)
		}
	}
	c.run("start", fmt.Sprint(down))
	if a := c.do(200, "GET", down, keys+"k?consistency=one", ""); string(a.body) != "before" && !strings.HasPrefix(string(a.body), "from") {
		t.Fatalf("after its restart n%d reads %q", down, a.body)
	}
	last := c.do(200, "GET", down, keys+"k?consistency=quorum", "")
	c.do(204, "PUT", down, keys+"k?consistency=all", "after", "X-Starling-Context", last.context())
	if a := c.do(200, "GET", down, keys+"k?consistency=one", ""); string(a.body) != "after" {
		t.Fatalf("n%d reads %q, want what it acknowledged", down, a.body)
	}
}

func TestQuorumFailureSaysWhatWasRequiredAndReceived(t *testing.T) {
	t.Parallel()
	c := up(t, 5)
	down := c.owners(1, "b", "k")[0]
	c.run("kill", fmt.Sprint(down))
	for i := 1; i <= 5; i++ {
		if i == down {
			continue
		}
		for _, method := range []string{"PUT", "GET"} {
			body := map[string]string{"PUT": "x"}[method]
			p := c.do(503, method, i, keys+"k?consistency=all&sloppy=false", body).problem(t)
			if p.Required == nil || p.Received == nil || p.MaybeApplied == nil || *p.Required != 3 {
				t.Errorf("%s at n%d: %+v, want 3 required, how many answered, and whether it may have been applied", method, i, p)
				continue
			}
			// Who knows that an owner is down does not begin a write in vain.
			begun := *p.Received == 2
			if !begun && (method == "GET" || *p.Received != 0) || *p.MaybeApplied != (begun && method == "PUT") {
				t.Errorf("%s at n%d: %d of 3, maybe applied: %v: %s", method, i, *p.Received, *p.MaybeApplied, p.Detail)
			}
		}
	}
}

func TestSiblingsFromBirthToResolution(t *testing.T) {
	t.Parallel()
	c := up(t, 3)
	path := keys + "cart"
	first := c.do(200, "PUT", 1, path, "base", "Prefer", "return=representation")
	token := first.context()
	c.do(204, "PUT", 1, path, "red", "X-Starling-Context", token, "Content-Type", "text/plain")
	c.do(204, "PUT", 2, path, "blue", "X-Starling-Context", token, "Content-Type", "text/plain")

	a := c.do(300, "GET", 3, path, "", "Accept", "application/json")
	var js struct {
		Context  string
		Siblings []struct{ Dot, Encoding, Value string }
	}
	if err := json.Unmarshal(a.body, &js); err != nil {
		t.Fatal(err)
	}
	var values []string
	for _, s := range js.Siblings {
		values = append(values, s.Value)
	}
	wantBoth(t, "json", values)

	a = c.do(300, "GET", 3, path, "", "Accept", "multipart/mixed")
	_, params, err := mime.ParseMediaType(a.Header.Get("Content-Type"))
	if err != nil {
		t.Fatal(err)
	}
	values = nil
	for r := multipart.NewReader(strings.NewReader(string(a.body)), params["boundary"]); ; {
		part, err := r.NextPart()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(part)
		values = append(values, string(b))
	}
	wantBoth(t, "multipart", values)

	c.do(204, "PUT", 2, path, "purple", "X-Starling-Context", js.Context)
	if a := c.do(200, "GET", 1, path, ""); string(a.body) != "purple" {
		t.Fatalf("after resolution: %q", a.body)
	}
	c.do(204, "DELETE", 3, path, "")
	gone := c.do(404, "GET", 1, path, "")
	if gone.context() == "" {
		t.Fatal("the 404 of a deleted key bears no context")
	}
	c.do(204, "PUT", 2, path, "again", "X-Starling-Context", gone.context())
	if a := c.do(200, "GET", 3, path, ""); string(a.body) != "again" {
		t.Fatalf("written again: %q", a.body)
	}
}

func wantBoth(t *testing.T, form string, values []string) {
	t.Helper()
	if len(values) != 2 || !(values[0] == "red" && values[1] == "blue" || values[0] == "blue" && values[1] == "red") {
		t.Fatalf("%s siblings %q, want red and blue", form, values)
	}
}

// every acknowledged write survives a kill -9 of all nodes at once.
func TestKillOfAllNodesLosesNoAcknowledgedWrite(t *testing.T) {
	const writes, connections = 20_000, 32
	c := up(t, 5)
	value := func(k int) string {
		sum := sha256.Sum256(fmt.Append(nil, k))
		return strings.Repeat(fmt.Sprintf("%x", sum), 16) // 1 KiB
	}
	each := func(do func(k int) error) {
		t.Helper()
		var wg sync.WaitGroup
		errs := make(chan error, connections)
		for w := range connections {
			wg.Go(func() {
				for k := w; k < writes; k += connections {
					if err := do(k); err != nil {
						errs <- fmt.Errorf("key %d: %w", k, err)
						return
					}
				}
			})
		}
		wg.Wait()
		close(errs)
		for err := range errs {
			t.Error(err)
		}
		if t.Failed() {
			t.FailNow()
		}
	}
	each(func(k int) error {
		a, err := c.try("PUT", k%5+1, fmt.Sprint(keys, k), value(k))
		if err == nil && a.StatusCode != 204 {
			err = fmt.Errorf("PUT: status %d: %s", a.StatusCode, a.body)
		}
		return err
	})
	var kills sync.WaitGroup
	for i := 1; i <= 5; i++ {
		kills.Go(func() { c.run("kill", fmt.Sprint(i)) })
	}
	kills.Wait()
	c.run("up", "5")
	each(func(k int) error {
		a, err := c.try("GET", (k+2)%5+1, fmt.Sprint(keys, k), "")
		if err == nil && (a.StatusCode != 200 || string(a.body) != value(k)) {
			err = fmt.Errorf("GET: status %d, %d bytes", a.StatusCode, len(a.body))
		}
		return err
	})
}

// A node added to a loaded cluster gets what it is to own, and so do nodes
// added at once; afterwards each owner alone answers every key it owns.
func TestAddedNodesHoldWhatTheyOwn(t *testing.T) {
	t.Parallel()
	const count = 1500
	c := up(t, 3)
	for k := range count {
		c.do(204, "PUT", k%3+1, fmt.Sprint(keys, k, "?consistency=all"), fmt.Sprint("value ", k))
	}
	c.run("add")
	c.run("add")
	settled := func() bool {
		a, err := c.try("GET", 1, "/v1/cluster", "")
		var st struct {
			Members []struct {
				State   string
				Pending int
			}
		}
		if err != nil || json.Unmarshal(a.body, &st) != nil || len(st.Members) != 5 {
			return false
		}
		for _, m := range st.Members {
			if m.State != "active" || m.Pending > 0 {
				return false
			}
		}
		return true
	}
	eventually(t, "five active members and nothing pending", settled)
	moved := 0
	for k := range count {
		for _, o := range c.owners(5, "b", fmt.Sprint(k)) {
			if o > 3 {
				moved++
			}
			a := c.do(200, "GET", o, fmt.Sprint(keys, k, "?consistency=one"), "")
			if string(a.body) != fmt.Sprint("value ", k) {
				t.Fatalf("owner n%d of key %d holds %q", o, k, a.body)
			}
		}
	}
	if moved < count/2 {
		t.Fatalf("the new nodes own %d of %d copies: the ring did not take them in", moved, 3*count)
	}
}
