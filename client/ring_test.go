package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// flock is a cluster behind a transport: hosts n0:1, n1:1, … that answer the
// ring and every key, and note what each was asked.
type flock struct {
	mu      sync.Mutex
	ring    map[string]any
	etag    string
	down    map[string]bool
	keys    []string // hosts, in the order of key requests
	rings   int      // whole rings answered
	matched int      // 304s
}

func newFlock(nodes, partitions, replicas int) *flock {
	f := &flock{down: map[string]bool{}, etag: `"1"`}
	members, owners := []map[string]any{}, make([][]int, partitions)
	for i := range nodes {
		members = append(members, map[string]any{"name": fmt.Sprint("n", i), "http": fmt.Sprintf("n%d:1", i), "alive": true, "state": "active"})
	}
	for p := range partitions {
		for i := range replicas {
			owners[p] = append(owners[p], (p+i)%nodes)
		}
	}
	f.ring = map[string]any{"partitions": partitions, "replicas": replicas, "hash": "xxh64", "members": members, "owners": owners}
	return f
}

func (f *flock) setAlive(i int, alive bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ring["members"].([]map[string]any)[i]["alive"] = alive
}

func (f *flock) RoundTrip(r *http.Request) (*http.Response, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	host := r.URL.Host
	if f.down[host] {
		return nil, &net.OpError{Op: "dial", Err: errors.New("refused")}
	}
	if r.URL.Path != "/v1/ring" {
		f.keys = append(f.keys, host)
		return ok(), nil
	}
	if r.Header.Get("If-None-Match") == f.etag {
		f.matched++
		return reply(304, "", ""), nil
	}
	f.rings++
	b, err := json.Marshal(f.ring)
	if err != nil {
		return nil, err
	}
	return reply(200, "application/json", string(b), "ETag", f.etag), nil
}

// asked takes the hosts that were asked since the last time.
func (f *flock) asked() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	hosts := f.keys
	f.keys = nil
	return hosts
}

func (f *flock) client(t *testing.T, o Options) *Client {
	t.Helper()
	o.HTTPClient = &http.Client{Transport: f}
	if o.Endpoints == nil {
		o.Endpoints = []string{"n0:1"}
	}
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// warm makes the first request, which starts the fetch of the ring.
func warm(t *testing.T, c *Client, f *flock) {
	t.Helper()
	put(t, c, "warm")
	synctest.Wait()
	f.asked()
}

func put(t *testing.T, c *Client, key string) {
	t.Helper()
	if _, err := c.Put(context.Background(), "b", key, nil, nil); err != nil {
		t.Fatal(err)
	}
}

// first gives the host of a key's first owner by the flock's placement.
func (f *flock) owner(key string, i int) string {
	const partitions, bits = 8, 3
	return fmt.Sprintf("n%d:1", (int(keyHash("b", key)>>(64-bits))+i)%5)
}

func TestRequestsGoToOwners(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFlock(5, 8, 3)
		c := f.client(t, Options{})
		defer c.Close()
		warm(t, c, f)
		seen := map[string]bool{}
		for i := range 40 {
			key := fmt.Sprint("key", i)
			put(t, c, key)
			if got := f.asked(); !slices.Equal(got, []string{f.owner(key, 0)}) {
				t.Fatalf("%s was put to %v, want its first owner %s", key, got, f.owner(key, 0))
			}
			seen[f.owner(key, 0)] = true
		}
		if len(seen) != 5 {
			t.Errorf("forty keys have the first owners %v", slices.Sorted(maps.Keys(seen)))
		}
		reads := map[string]int{}
		for range 30 {
			if _, err := c.Get(context.Background(), "b", "k", nil); err != nil {
				t.Fatal(err)
			}
			reads[f.asked()[0]]++
		}
		want := map[string]int{f.owner("k", 0): 10, f.owner("k", 1): 10, f.owner("k", 2): 10}
		if !maps.Equal(reads, want) {
			t.Errorf("reads went to %v, want %v", reads, want)
		}
	})
}

func TestADeadOwnerIsPassedBy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFlock(5, 8, 3)
		c := f.client(t, Options{})
		defer c.Close()
		warm(t, c, f)
		for i := range 3 {
			f.down[f.owner("k", i)] = true
		}
		put(t, c, "k") // by the two that are left, though they own nothing of it
		if got := f.asked(); len(got) != 1 || f.down[got[0]] {
			t.Errorf("asked %v, down are %v", got, f.down)
		}
	})
}

// An owner that the ring says is dead is not asked, and is asked again once
// the ring says that it is back, although the ring's tag has not changed.
func TestLivenessIsFollowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFlock(5, 8, 3)
		dead := f.owner("k", 0)
		index := int(dead[1] - '0')
		f.setAlive(index, false)
		c := f.client(t, Options{Endpoints: []string{f.owner("k", 1)}})
		defer c.Close()
		warm(t, c, f)
		put(t, c, "k")
		if got := f.asked(); !slices.Equal(got, []string{f.owner("k", 1)}) {
			t.Errorf("with the first owner dead: %v", got)
		}
		f.setAlive(index, true)
		time.Sleep(DefaultRingRefresh + time.Second)
		put(t, c, "k")
		synctest.Wait()
		f.asked()
		put(t, c, "k")
		if got := f.asked(); !slices.Equal(got, []string{dead}) {
			t.Errorf("with the first owner back: %v", got)
		}
		if f.matched != 0 {
			t.Errorf("%d refreshes were answered 304 while an owner was dead", f.matched)
		}
	})
}

func TestRefreshIsLazyAndConditional(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFlock(5, 8, 3)
		c := f.client(t, Options{})
		defer c.Close()
		for range 10 {
			put(t, c, "k")
			synctest.Wait()
		}
		if f.rings != 1 || f.matched != 0 {
			t.Fatalf("after ten puts: %d rings, %d 304s", f.rings, f.matched)
		}
		time.Sleep(10 * DefaultRingRefresh)
		if f.matched != 0 {
			t.Error("an idle client refreshed its ring")
		}
		for range 10 {
			put(t, c, "k")
			synctest.Wait()
		}
		if f.rings != 1 || f.matched != 1 {
			t.Errorf("after a pause: %d rings, %d 304s", f.rings, f.matched)
		}
		f.asked()
		put(t, c, "k")
		if got := f.asked(); !slices.Equal(got, []string{f.owner("k", 0)}) {
			t.Errorf("after the 304: %v", got)
		}
	})
}

// A node that does not answer makes the ring suspect: the client asks for it
// anew within a second or so, and not for each failure.
func TestFailuresRefreshTheRing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFlock(5, 8, 3)
		c := f.client(t, Options{Endpoints: []string{"n0:1", "n1:1", "n2:1", "n3:1", "n4:1"}})
		defer c.Close()
		warm(t, c, f)
		dead := f.owner("k", 0)
		f.down[dead] = true
		f.setAlive(int(dead[1]-'0'), false)
		f.etag = `"2"`
		put(t, c, "k")
		time.Sleep(ringRetry)
		for range 10 {
			put(t, c, "k")
			synctest.Wait()
		}
		if f.rings != 2 {
			t.Errorf("%d rings were fetched", f.rings)
		}
		f.asked()
		time.Sleep(time.Minute)
		f.down[dead] = false
		put(t, c, "k")
		if got := f.asked(); slices.Contains(got, dead) {
			t.Errorf("asked %v; the ring says that %s is dead", got, dead)
		}
	})
}

func TestRingsThatAreNotBelieved(t *testing.T) {
	for name, spoil := range map[string]func(ring map[string]any){
		"another hash":         func(r map[string]any) { r["hash"] = "xxh3" },
		"no power of two":      func(r map[string]any) { r["partitions"] = 7 },
		"missing partitions":   func(r map[string]any) { r["owners"] = [][]int{{0}} },
		"an owner of no index": func(r map[string]any) { r["owners"].([][]int)[7] = []int{5} },
		"a negative owner":     func(r map[string]any) { r["owners"].([][]int)[7] = []int{-1} },
		"no ring":              func(r map[string]any) { clear(r) },
	} {
		synctest.Test(t, func(t *testing.T) {
			f := newFlock(5, 8, 3)
			spoil(f.ring)
			c := f.client(t, Options{})
			defer c.Close()
			warm(t, c, f)
			if f.rings != 1 {
				t.Fatalf("%s: %d rings", name, f.rings)
			}
			for i := range 5 {
				put(t, c, fmt.Sprint(i))
			}
			if got := strings.Join(f.asked(), " "); got != "n0:1 n0:1 n0:1 n0:1 n0:1" {
				t.Errorf("%s: requests went to %s", name, got)
			}
		})
	}
}

// Members without a usable address, and partitions without owners, are no
// reason to fail.
func TestRingWithGaps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFlock(5, 1, 3)
		members := f.ring["members"].([]map[string]any)
		members[0]["http"], members[1]["http"], members[2]["http"] = "", "nowhere", ":4700"
		c := f.client(t, Options{Endpoints: []string{"n4:1"}})
		defer c.Close()
		warm(t, c, f)
		for range 4 {
			put(t, c, "k")
		}
		if got := f.asked(); !slices.Contains(got, "n3:1") || !slices.Contains(got, "n4:1") {
			t.Errorf("asked %v", got)
		}
	})
}

func TestSinglePartition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFlock(3, 1, 1)
		c := f.client(t, Options{Endpoints: []string{"n2:1"}})
		defer c.Close()
		warm(t, c, f)
		put(t, c, "k")
		if got := f.asked(); !slices.Equal(got, []string{"n0:1"}) {
			t.Errorf("asked %v", got)
		}
	})
}

func TestDisableRing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFlock(5, 8, 3)
		c := f.client(t, Options{Endpoints: []string{"n0:1", "n1:1"}, DisableRing: true})
		defer c.Close()
		for range 4 {
			put(t, c, "k")
			synctest.Wait()
		}
		if got := strings.Join(f.asked(), " "); f.rings != 0 || got != "n1:1 n0:1 n1:1 n0:1" {
			t.Errorf("%d rings, asked %s", f.rings, got)
		}
	})
}

// A refresh that is due is not put off by further failures.
func TestFailuresDoNotStarveTheRefresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFlock(5, 8, 3)
		c := f.client(t, Options{Endpoints: []string{"n0:1", "n1:1", "n2:1", "n3:1", "n4:1"}})
		defer c.Close()
		warm(t, c, f)
		f.etag = `"2"`
		for i := range 8 { // each with a failure less than a second after the last
			host := fmt.Sprintf("n%d:1", i%5)
			f.down = map[string]bool{host: true}
			put(t, c, keyOwnedBy(f, host))
			synctest.Wait()
			time.Sleep(ringRetry * 3 / 4)
		}
		if f.rings < 2 {
			t.Errorf("%d rings were fetched", f.rings)
		}
	})
}

// keyOwnedBy finds a key whose first owner is the given host.
func keyOwnedBy(f *flock, host string) string {
	for i := 0; ; i++ {
		if key := fmt.Sprint(i); f.owner(key, 0) == host {
			return key
		}
	}
}

// Close ends a refresh that hangs, and waits for it. There is one at most.
func TestClose(t *testing.T) {
	const lastWords = time.Second
	synctest.Test(t, func(t *testing.T) {
		refreshes := 0
		c, err := New(Options{Endpoints: []string{"a:1"}, HTTPClient: &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
			if r.URL.Path == "/v1/ring" {
				refreshes++
				<-r.Context().Done()
				time.Sleep(lastWords)
				return nil, r.Context().Err()
			}
			return ok(), nil
		})}})
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			put(t, c, "k")
			synctest.Wait()
		}
		start := time.Now()
		c.Close()
		c.Close()
		if got := time.Since(start); got != lastWords || refreshes != 1 {
			t.Errorf("closing took %v, there were %d refreshes", got, refreshes)
		}
		if _, err := c.Get(context.Background(), "b", "k", nil); !errors.Is(err, ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
	})
}
