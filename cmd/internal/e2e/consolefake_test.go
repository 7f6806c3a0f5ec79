package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync/atomic"
	"testing"

	"starling/coordinator/api/console"
)

// fakeNode serves the console and answers of a cluster that no test could start.
type fakeNode struct {
	members, partitions int
	names               []string
	down                []string
	fails               atomic.Bool // /v1/cluster
	hangs               chan struct{}
}

func (f *fakeNode) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if console.Serve(w, r) {
		return
	}
	answer := func(doc any) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(doc)
	}
	switch r.URL.Path {
	case "/v1/cluster":
		if f.fails.Load() {
			http.Error(w, "no node here", http.StatusBadGateway)
			return
		}
		answer(f.cluster())
	case "/v1/ring":
		answer(f.ring())
	case "/v1/convergence":
		if f.hangs != nil {
			select {
			case <-f.hangs:
			case <-r.Context().Done():
			}
			return
		}
		answer(f.convergence(r.URL.Query().Get("pairs") == "true"))
	case "/v1/hints":
		answer(object{"targets": []object{{"target": "<i>", "hints": 1204, "bytes": 99999, "state": "waiting", "last_error": "<i>"}}})
	case "/v1/buckets":
		answer(object{"buckets": []object{}})
	default:
		http.Error(w, "not here", http.StatusNotFound)
	}
}

func (f *fakeNode) name(i int) string { return f.names[i%len(f.names)] + fmt.Sprint(i) }

// owners are three different members, where there are that many.
func (f *fakeNode) owners(p int) []int {
	if f.members < 9 {
		return []int{p % f.members}
	}
	return []int{p % f.members, (p + 1 + p/f.members%4) % f.members, (p + 5 + p/f.members/4%4) % f.members}
}

type object = map[string]any

func (f *fakeNode) cluster() object {
	members := []object{}
	for i := range f.members {
		// Those that are down say nothing of themselves.
		alive := !slices.Contains(f.down, f.name(i))
		m := object{"name": f.name(i), "id": fmt.Sprint(i), "state": "active", "alive": alive, "http": "10.0.0.1:1", "settled": 3 * f.partitions / f.members, "answered": alive}
		if alive {
			m["hints"] = 1204
		}
		members = append(members, m)
	}
	return object{"cluster_id": "c1", "map_hash": "m1", "partitions": f.partitions, "replicas": 3, "node": f.name(0), "members": members}
}

func (f *fakeNode) ring() object {
	members, owners, pending := []object{}, [][]int{}, [][]int{}
	for i := range f.members {
		members = append(members, object{"id": fmt.Sprint(i)})
	}
	for p := range f.partitions {
		owners, pending = append(owners, f.owners(p)), append(pending, []int{})
	}
	return object{"map_hash": "m1", "members": members, "owners": owners, "pending": pending}
}

func (f *fakeNode) convergence(listed bool) object {
	doc := object{"converged": false, "pairs_total": 3 * f.partitions, "stale": 7, "unproven": 3, "oldest_proof_seconds": nil, "tombstones": 12,
		"purge_blockers": []object{{"node": f.name(1), "reason": "<b>it is down</b>"}}}
	if !listed {
		return doc
	}
	pairs := []object{}
	for p := range f.partitions {
		o := f.owners(p)
		for k, pair := range [][2]int{{o[0], o[1]}, {o[0], o[2]}, {o[1], o[2]}} {
			d := object{"partition": p, "a": f.name(pair[0]), "b": f.name(pair[1]), "holds": p > 6, "proven_seconds_ago": float64((p*13 + k*700) % 3600)}
			if p < 3 {
				d["proven_seconds_ago"] = nil
			}
			pairs = append(pairs, d)
		}
	}
	doc["pairs"] = pairs
	return doc
}

// The console stands large clusters, names that look like markup, endpoints
// that fail or hang, and says how old what it shows is.
func TestConsoleBounds(t *testing.T) {
	t.Parallel()
	b := browse(t)
	f := &fakeNode{members: 12, partitions: 4096, names: []string{"<img src=x onerror=alert(1)>", "a-node-with-a-name-that-is-far-too-long-", "n"}}
	f.down = []string{f.name(2), f.name(4)}
	s := httptest.NewServer(f)
	defer s.Close()
	b.visit(s.URL + "/")
	b.see("both that are down", text("#headline", f.name(4)+" and n2 are down as seen from "+f.name(0)))
	b.see("no markup", `document.querySelectorAll('main img').length === 0`)
	b.see("what cannot be read", `/\d+ partitions have fewer owners up than a quorum/.test(document.querySelector('#points').innerText)`)
	b.see("that writes go on", text("#points", "Writes go on"))
	b.see("hints with separators", text("#points", "12,040 writes wait as hints"))
	b.see("all nodes", `document.querySelectorAll('.node-list li').length === 12`)
	b.shots("bounds")
	b.click(".switch [data-order=hash]")
	b.see("the other order", `document.querySelector('.switch [data-order=hash]').getAttribute('aria-pressed') === 'true'`)
	b.click(".node-list li:nth-child(3) button")
	b.see("one node's pieces brought out", `document.querySelectorAll('.ring.chosen .piece.out').length > 0`)
	b.shots("bounds-hash")
	b.click("nav [data-view=convergence]")
	b.see("the pairs that are in trouble first", `/not proven/.test(document.querySelector('.pair .pair-note')?.innerText)`)
	b.see("what blocks a purge, as text", text("#convergence", "<b>it is down</b>"))
	b.shots("bounds-convergence")
	b.click("nav [data-view=keys]")
	b.fill("#bucket", "..")
	b.fill("#key", "k")
	b.click("#read")
	b.see("what is wrong", text(".form-message", "Browsers cannot ask for"))
	b.wantQuiet()

	f.fails.Store(true)
	b.see("that the node does not answer", `!document.querySelector('#stale').hidden`)
	b.see("how old it is", text("#live", "not reachable, updated"))
	b.shots("stale")
	f.fails.Store(false)
	b.click("#stale button")
	b.see("that it answers again", `document.querySelector('#stale').hidden`)
	b.wantQuiet("502")
}

// A page without its ring and its proofs, one of which never comes, still says
// what it can.
func TestConsoleWithoutAnswers(t *testing.T) {
	t.Parallel()
	b := browse(t)
	f := &fakeNode{members: 1, partitions: 16, names: []string{"n"}, hangs: make(chan struct{})}
	s := httptest.NewServer(f)
	defer s.Close()
	defer close(f.hangs)
	b.visit(s.URL + "/#/convergence")
	b.see("that it waits", text("#convergence", "Asking all members"))
	b.click("nav [data-view=overview]")
	b.see("that there is one copy", text("#points", "With 1 node every value has 1 copy instead of 3."))
	b.click("nav [data-view=nodes]")
	b.see("the node", `document.querySelectorAll('#nodes .card:first-child tbody tr').length === 1`)
	b.wantQuiet()
}
