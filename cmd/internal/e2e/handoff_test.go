package e2e

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// With two owners of a key down, and then with all three, the other nodes
// stand in for them unless the caller wants none of that; and the owners get
// everything when they are back.
func TestTwoOwnersDown(t *testing.T) {
	t.Parallel()
	c := up(t, 5, handoffOnly...)
	some, owners := c.ownedAlike(6)
	live := c.others(owners[:2])
	c.onEach("kill", owners[:2]...)
	values := make(map[string]string)
	for n, i := range live {
		key := some[n]
		values[key] = "written at n" + fmt.Sprint(i)
		r, a := c.put(i, key, "?consistency=quorum", values[key])
		c.wantStandIns(r, owners[:2], live)
		if want := fmt.Sprintf("acked=%d hinted=%d required=%d", r.Acked, r.Hinted, r.Required); a.Header.Get("X-Starling-Replicas") != want {
			t.Errorf("X-Starling-Replicas %q, want %q", a.Header.Get("X-Starling-Replicas"), want)
		}
	}
	strict := some[3]
	for _, i := range live {
		for _, query := range []string{"?pw=2", "?sloppy=false", "?sloppy=false&consistency=two"} {
			a := c.doAbout(503, "PUT", i, strict, query, "for owners alone")
			c.wantRefused(a, "/problems/quorum-not-reached", "/problems/unreachable")
		}
		for key, value := range values {
			if a := c.doAbout(200, "GET", i, key, "?consistency=quorum", ""); string(a.body) != value {
				t.Errorf("%s at n%d: %q, want %q", key, i, a.body, value)
			}
			c.doAbout(503, "GET", i, key, "?pr=2", "")
			c.doAbout(503, "GET", i, key, "?sloppy=false", "")
		}
	}
	c.run("kill", fmt.Sprint(owners[2]))
	for n, i := range c.others(owners) {
		key := some[4+n]
		values[key] = "any, at n" + fmt.Sprint(i)
		if r, _ := c.put(i, key, "?consistency=any", values[key]); r.Acked != 0 || r.Hinted == 0 {
			t.Errorf("without an owner: %+v", r)
		}
	}
	c.onEach("start", owners...)
	for key, value := range values {
		c.wantAtOwners(key, value, owners...)
	}
	c.awaitNoHints()
	for _, o := range owners { // a write that was refused may have been applied, as one value at most
		if a, err := c.try("GET", o, keys+strict, ""); err != nil || a.StatusCode == http.StatusMultipleChoices {
			t.Errorf("%s at n%d: %v, %s\n%s", strict, o, err, a.text(), c.explain("b", strict))
		}
	}
}

// wantStandIns checks the receipt of a put that found two owners down: live
// nodes that are no owners hold hints for them.
func (c *cluster) wantStandIns(r receipt, down, live []int) {
	c.t.Helper()
	hinted := 0
	for _, part := range r.Replicas {
		var node, holder int
		_, err := fmt.Sscanf(part.Node, "n%d", &node)
		isDown := slices.Contains(down, node)
		switch {
		case err != nil:
		case part.Outcome == "hinted":
			hinted++
			_, err = fmt.Sscanf(part.Holder, "n%d", &holder)
			if err == nil && (!isDown || !slices.Contains(live, holder)) {
				err = fmt.Errorf("n%d holds a hint for n%d", holder, node)
			}
		case part.Outcome == "acked" && isDown || part.Holder != "":
			err = fmt.Errorf("n%d is down", node)
		}
		if err != nil {
			c.t.Errorf("receipt %+v: %v", r, err)
		}
	}
	if len(r.Replicas) != 3 || r.Hinted < 1 || r.Hinted > hinted || r.Acked != 1 || r.Acked+r.Hinted < r.Required || r.Required != 2 {
		c.t.Errorf("receipt %+v: want one owner's acknowledgement and at least one hint among three replicas, two of them required", r)
	}
}

// Hints outlive their holder's kill -9, and arrive once.
func TestHintHolderKilled(t *testing.T) {
	t.Parallel()
	c := up(t, 5, handoffOnly...)
	some, owners := c.ownedAlike(40)
	live := c.others(owners[:2])
	before := make(map[string]string) // contexts of versions that the hints supersede
	for n, key := range some[:20] {
		before[key] = c.doAbout(204, "PUT", n%5+1, key, "?consistency=all", "before").context()
	}
	c.onEach("kill", owners[:2]...)
	value := func(key string) string { return "hinted " + key }
	for n, key := range some {
		c.doAbout(204, "PUT", live[n%len(live)], key, "", value(key), "X-Starling-Context", before[key])
	}
	var holder int
	var held hints
	for _, i := range c.others(owners) {
		if h := c.hintsAt(i); h.Hints > held.Hints {
			holder, held = i, h
		}
	}
	if holder == 0 {
		t.Fatal("nobody holds a hint")
	}
	c.run("kill", fmt.Sprint(holder))
	c.run("start", fmt.Sprint(holder))
	if h := c.hintsAt(holder); h.Hints != held.Hints || h.Bytes != held.Bytes {
		t.Errorf("n%d held %+v before its kill and %+v after", holder, held, h)
	}
	c.onEach("start", owners[:2]...)
	for _, key := range some {
		c.wantAtOwners(key, value(key), owners...)
	}
	c.awaitNoHints()
	for _, key := range some[:3] {
		if a := c.doAbout(200, "GET", holder, key, "?consistency=all", ""); string(a.body) != value(key) {
			t.Errorf("%s: %s", key, a.text())
		}
	}
}

// Where no more hints may be held writes are refused, reads go on, and nothing
// that was acknowledged is lost.
func TestHintBound(t *testing.T) {
	t.Parallel()
	const bound, most = 256 << 10, 2000
	c := up(t, 5, append(slices.Clip(handoffOnly), fmt.Sprintf("STARLING_HINTS_MAX_BYTES=%d", bound))...)
	some, owners := c.ownedAlike(3)
	live := c.others(owners[:2])
	c.onEach("kill", owners[:2]...)
	value := func(key string) string { return strings.Repeat(key+" ", 4096/(len(key)+1)) }
	acked := make(map[string]bool)
	refusing := make(map[int]answer)
	for n := 0; len(refusing) < len(live); n++ {
		if n == most {
			t.Fatalf("%d puts, and only %d of the nodes %v refuse", n, len(refusing), live)
		}
		key, i := fmt.Sprint("bound-", n), live[n%len(live)]
		if own := c.owners(i, "b", key); !slices.Contains(own, owners[0]) || !slices.Contains(own, owners[1]) {
			continue
		}
		a, err := c.try("PUT", i, keys+key, value(key))
		switch {
		case err != nil:
			t.Fatalf("PUT %s at n%d: %v", key, i, err)
		case a.StatusCode == 204:
			acked[key] = true
		default:
			c.wantRefused(a, "/problems/hints-full")
			refusing[i] = a
		}
		if t.Failed() {
			t.Fatalf("%s at n%d: %s\n%s", key, i, a.text(), c.explain("b", key))
		}
	}
	if len(acked) < 10 {
		t.Errorf("only %d writes were acknowledged", len(acked))
	}
	for _, i := range live {
		if h := c.hintsAt(i); h.Bytes > bound {
			t.Errorf("n%d holds %d bytes of hints, more than its bound", i, h.Bytes)
		}
		for key := range acked {
			if a := c.doAbout(200, "GET", i, key, "", ""); string(a.body) != value(key) {
				t.Errorf("%s at n%d: another value\n%s", key, i, c.explain("b", key))
			}
		}
	}
	c.onEach("start", owners[:2]...)
	for _, i := range live {
		c.eventually(fmt.Sprintf("n%d takes writes again", i), func() bool {
			a, err := c.try("PUT", i, keys+some[0]+"?consistency=all", "again", "Idempotency-Key", "again")
			return err == nil && a.StatusCode == 204
		}, func() string { return c.explain("b", some[0]) })
	}
	c.awaitNoHints()
	for key := range acked {
		c.wantAtOwners(key, value(key), c.owners(1, "b", key)...)
	}
}
