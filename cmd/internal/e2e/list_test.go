package e2e

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
)

// listAll pages through the keys of bucket b at node i.
func (c *cluster) listAll(i int, query string) (keys []string, pages int) {
	c.t.Helper()
	for after := ""; ; pages++ {
		a := c.do(200, "GET", i, "/v1/buckets/b/keys?after="+url.QueryEscape(after)+query, "")
		var page struct {
			Keys     []struct{ Key string }
			Next     string
			Complete bool
		}
		if err := json.Unmarshal(a.body, &page); err != nil {
			c.t.Fatalf("%v in %s", err, a.body)
		}
		for _, k := range page.Keys {
			keys = append(keys, k.Key)
		}
		if page.Complete {
			return keys, pages + 1
		}
		if page.Next <= after {
			c.t.Fatalf("a page behind %q goes on at %q", after, page.Next)
		}
		after = page.Next
	}
}

// lines gives the keys of a stream, and its last line if that is an error.
func lines(t *testing.T, body []byte) (keys []string, failed string) {
	t.Helper()
	for line := range strings.Lines(string(body)) {
		var doc struct {
			Key   string
			Error json.RawMessage
		}
		if err := json.Unmarshal([]byte(line), &doc); err != nil {
			t.Fatalf("%v in %q", err, line)
		}
		if doc.Error != nil {
			return keys, line
		}
		keys = append(keys, doc.Key)
	}
	return keys, ""
}

// 2000 keys, some of them deleted, are all listed in order, by every node, also
// with one node dead.
func TestListingWithANodeDown(t *testing.T) {
	t.Parallel()
	c := up(t, 5)
	const n = 2000
	name := func(k int) string { return fmt.Sprintf("user/%04d", k) }
	var writers sync.WaitGroup
	for w := range 8 {
		writers.Go(func() {
			for k := w; k < n; k += 8 {
				path := keys + url.PathEscape(name(k))
				if a, err := c.try("PUT", k%5+1, path, name(k)); err != nil || a.StatusCode != 204 {
					t.Errorf("PUT %s: %v, %v", name(k), a.text(), err)
					return
				}
				if k%4 != 0 {
					continue
				}
				if a, err := c.try("DELETE", (k+1)%5+1, path, ""); err != nil || a.StatusCode != 204 {
					t.Errorf("DELETE %s: %v, %v", name(k), a.text(), err)
					return
				}
			}
		})
	}
	writers.Wait()
	c.do(204, "PUT", 1, "/v1/buckets/other/keys/user", "of another bucket")
	var want []string
	for k := range n {
		if k%4 != 0 {
			want = append(want, name(k))
		}
	}
	check := func(when string, nodes ...int) {
		t.Helper()
		for _, i := range nodes {
			if got, pages := c.listAll(i, "&limit=400"); !slices.Equal(got, want) || pages < 4 {
				t.Errorf("%s, at n%d: %d keys in %d pages, want %d", when, i, len(got), pages, len(want))
			}
			a := c.do(200, "GET", i, "/v1/buckets/b/keys", "", "Accept", "application/x-ndjson")
			if got, failed := lines(t, a.body); !slices.Equal(got, want) || failed != "" {
				t.Errorf("%s, streamed by n%d: %d keys, want %d, %s", when, i, len(got), len(want), failed)
			}
		}
	}
	check("with all nodes", 1, 2, 3, 4, 5)
	c.run("kill", "3")
	check("with n3 dead", 1, 2, 4, 5)

	if got, _ := c.listAll(1, "&prefix=user/19&consistency=one"); !slices.Equal(got, want[len(want)-75:]) {
		t.Errorf("with a prefix: %d keys", len(got))
	}
	c.wantRefused(c.do(503, "GET", 1, "/v1/buckets/b/keys?consistency=all", ""), "/problems/quorum-not-reached")
	a := c.do(200, "GET", 2, "/v1/buckets/b/keys?values=true&after=user/1997&limit=5", "")
	if text := string(a.body); !strings.Contains(text, `"value":"user/1998"`) || !strings.Contains(text, `"complete":true`) || strings.Contains(text, "1997") {
		t.Errorf("with values: %s", a.body)
	}
	out := c.starling(0, 4, "ls", "b", "--prefix", "user/000")
	if out != "user/0001\nuser/0002\nuser/0003\nuser/0005\nuser/0006\nuser/0007\nuser/0009\n" {
		t.Errorf("starling ls: %q", out)
	}
	out = c.starling(0, 4, "ls", "b", "-o", "json", "--limit", "1500")
	var doc struct{ Keys []struct{ Key string } }
	if err := json.Unmarshal([]byte(out), &doc); err != nil || len(doc.Keys) != len(want) {
		t.Errorf("starling ls -o json: %d keys, %v", len(doc.Keys), err)
	}
}
