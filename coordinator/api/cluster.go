package api

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"

	"starling/coordinator"
	"starling/gossip/state"
	"starling/ring"
)

// layout is the placement of every partition under one cluster map, prepared
// for answers.
type layout struct {
	hash uint64 // of the map
	view *ring.View
	// partitions holds "owners" and "pending" as JSON: for each partition the
	// indices of members in the map.
	owners, pending json.RawMessage
	// owns and waits count partitions by member index.
	owns, waits []int
}

// layoutCache keeps the layout of the map that was last asked for: with many
// partitions it takes milliseconds to compute and seldom changes.
type layoutCache struct {
	mu   sync.Mutex
	last *layout
}

// get is the layout of m, whose hash it also tells. A map that makes no ring
// is an error.
func (c *layoutCache) get(m state.Map) (*layout, error) {
	hash := m.Hash()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.last != nil && c.last.hash == hash {
		return c.last, nil
	}
	var prev *ring.View
	if c.last != nil {
		prev = c.last.view
	}
	view, err := m.ViewFrom(prev)
	if err != nil {
		return nil, err
	}
	c.last = newLayout(m, view, hash)
	return c.last, nil
}

func newLayout(m state.Map, view *ring.View, hash uint64) *layout {
	l := &layout{hash: hash, view: view, owns: make([]int, len(m.Members)), waits: make([]int, len(m.Members))}
	index := make(map[ring.NodeID]int, len(m.Members))
	for i, r := range m.Members {
		index[r.ID] = i
	}
	indices := func(ids []ring.NodeID, count []int) []int {
		list := make([]int, len(ids))
		for i, id := range ids {
			list[i] = index[id]
			count[list[i]]++
		}
		return list
	}
	partitions := view.Ring().Config().Partitions
	owners, pending := make([][]int, partitions), make([][]int, partitions)
	for p := range partitions {
		pl := view.Placement(p)
		owners[p], pending[p] = indices(pl.Owners, l.owns), indices(pl.Pending, l.waits)
	}
	l.owners, l.pending = mustJSON(owners), mustJSON(pending)
	return l
}

// ringDoc is the JSON of /v1/ring: all that a client needs to find the owners
// of a key by itself.
type ringDoc struct {
	Partitions int             `json:"partitions"`
	Replicas   int             `json:"replicas"`
	Hash       string          `json:"hash"`
	MapHash    string          `json:"map_hash"`
	Members    []ringMember    `json:"members"`
	Owners     json.RawMessage `json:"owners"`
	Pending    json.RawMessage `json:"pending"`
}

type ringMember struct {
	Name   string `json:"name"`
	ID     string `json:"id"`
	HTTP   string `json:"http"`
	Zone   string `json:"zone"`
	Weight uint32 `json:"weight"`
	State  string `json:"state"`
	Alive  bool   `json:"alive"`
	Owns   int    `json:"owns"`
}

// hashName is the hash of [ring.Hash] for clients.
const hashName = "xxh64"

func (s *Server) getRing(w http.ResponseWriter, r *http.Request) *problem {
	if s.opts.Cluster.View() == nil {
		return s.notReady(opAdmin)
	}
	m := s.opts.Cluster.Map()
	l, err := s.layouts.get(m)
	if err != nil {
		return s.problemOf(err, false, m)
	}
	doc := ringDoc{
		Partitions: int(m.Settings.Partitions), Replicas: int(m.Settings.Replicas), Hash: hashName, MapHash: hexHash(l.hash),
		Members: make([]ringMember, len(m.Members)), Owners: l.owners, Pending: l.pending,
	}
	for i, mem := range m.Members {
		doc.Members[i] = ringMember{
			Name: mem.Name, ID: mem.ID.String(), HTTP: mem.HTTP, Zone: mem.Zone, Weight: mem.Weight,
			State: mem.State.String(), Alive: s.opts.Cluster.Alive(mem.ID), Owns: l.owns[i],
		}
	}
	// Weak, because liveness may differ under the same map.
	etag := `W/"` + doc.MapHash + `"`
	h := w.Header()
	h.Set("Etag", etag)
	h["Cache-Control"] = noCache
	if matchesETag(r.Header["If-None-Match"], etag) {
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	writeJSON(w, http.StatusOK, doc)
	return nil
}

// keyRingDoc is the JSON of /v1/ring/{bucket}/{key…}.
type keyRingDoc struct {
	Partition int      `json:"partition"`
	Owners    []string `json:"owners"`
	Pending   []string `json:"pending"`
	Fallbacks []string `json:"fallbacks"`
}

func (s *Server) getKeyRing(w http.ResponseWriter, r *http.Request) *problem {
	bucket, key, p := parseKeyPath(r.URL, "/v1/ring/", "/")
	if p != nil {
		return p
	}
	// The view comes first: the map that is read after it knows its members.
	view := s.opts.Cluster.View()
	if view == nil {
		return s.notReady(opAdmin)
	}
	m := s.opts.Cluster.Map()
	partition := ring.Partition(m.Buckets.Find(bucket).Stored(), key, view.Ring().Config().Partitions)
	pl := view.Placement(partition)
	doc := keyRingDoc{Partition: partition, Owners: nodeNames(m, pl.Owners), Pending: nodeNames(m, pl.Pending), Fallbacks: []string{}}
	for id := range view.Fallbacks(partition) {
		doc.Fallbacks = append(doc.Fallbacks, nodeName(m, id))
	}
	w.Header()["Cache-Control"] = noCache
	writeJSON(w, http.StatusOK, doc)
	return nil
}

func nodeNames(m state.Map, ids []ring.NodeID) []string {
	names := make([]string, len(ids))
	for i, id := range ids {
		names[i] = nodeName(m, id)
	}
	return names
}

// clusterDoc is the JSON of /v1/cluster.
type clusterDoc struct {
	ClusterID  string          `json:"cluster_id"` // empty before the node has joined
	MapHash    string          `json:"map_hash"`
	Partitions int             `json:"partitions"`
	Replicas   int             `json:"replicas"`
	Node       string          `json:"node"`
	Members    []clusterMember `json:"members"`
}

type clusterMember struct {
	Name    string `json:"name"`
	ID      string `json:"id"`
	State   string `json:"state"`
	Alive   bool   `json:"alive"`
	HTTP    string `json:"http"`
	RPC     string `json:"rpc"`
	Gossip  string `json:"gossip"`
	Zone    string `json:"zone"`
	Weight  uint32 `json:"weight"`
	Boot    uint64 `json:"boot"`
	Version string `json:"version"`
	// Settled and Pending count the partitions that the member owns, and
	// those that it is still being filled with.
	Settled int `json:"settled"`
	Pending int `json:"pending"`
	// Answered: the member said how it is, just now. If not, Hints is 0 and
	// the four after it are missing.
	Answered bool `json:"answered"`
	// Hints and HintBytes are the writes that the member holds for others.
	Hints     int64  `json:"hints"`
	HintBytes *int64 `json:"hint_bytes,omitempty"`
	Draining  *bool  `json:"draining,omitempty"`
	// Transfer is missing where nothing is to be filled, Leaving where the
	// member waits for nothing in order to leave.
	Transfer *transferDoc `json:"transfer,omitempty"`
	Leaving  string       `json:"leaving,omitempty"`
	*peerDoc
}

// transferDoc is how far a member is with what it is being filled with.
type transferDoc struct {
	Pending    int   `json:"pending"`
	BytesDone  int64 `json:"bytes_done"`
	BytesTotal int64 `json:"bytes_total"`
}

// peerDoc is how another member looks from the node that answers.
type peerDoc struct {
	Usable     bool    `json:"usable"`
	Breaker    string  `json:"breaker"`
	InFlight   int     `json:"in_flight"`
	ReadP95MS  float64 `json:"read_p95_ms"`
	WriteP95MS float64 `json:"write_p95_ms"`
}

func (s *Server) getCluster(w http.ResponseWriter, r *http.Request) *problem {
	statuses, peers, p := s.askMembers(r.Context())
	if p != nil {
		return p
	}
	m := s.opts.Cluster.Map()
	doc := clusterDoc{Node: s.opts.Name, Members: make([]clusterMember, len(m.Members))}
	owns, waits := make([]int, len(m.Members)), make([]int, len(m.Members))
	if m.Settings.IsZero() {
		doc.MapHash = hexHash(m.Hash())
	} else {
		l, err := s.layouts.get(m)
		if err != nil {
			return s.problemOf(err, false, m)
		}
		doc.ClusterID, doc.MapHash = hex.EncodeToString(m.Settings.Cluster[:]), hexHash(l.hash)
		doc.Partitions, doc.Replicas = int(m.Settings.Partitions), int(m.Settings.Replicas)
		owns, waits = l.owns, l.waits
	}
	for i, mem := range m.Members {
		status, answered := statuses[mem.ID]
		doc.Members[i] = clusterMember{
			Name: mem.Name, ID: mem.ID.String(), State: mem.State.String(), Alive: s.opts.Cluster.Alive(mem.ID),
			HTTP: mem.HTTP, RPC: mem.RPC, Gossip: mem.Gossip, Zone: mem.Zone, Weight: mem.Weight,
			Boot: mem.Boot, Version: fmt.Sprintf("%d.%d", mem.Version>>32, uint32(mem.Version)),
			Settled: owns[i], Pending: waits[i], Answered: answered, Hints: status.Hints, peerDoc: peers[mem.ID],
		}
		if answered {
			doc.Members[i].tell(&status, m)
		}
	}
	w.Header()["Cache-Control"] = noCache
	writeJSON(w, http.StatusOK, doc)
	return nil
}

// tell adds what the member says of itself.
func (d *clusterMember) tell(status *coordinator.NodeStatus, m state.Map) {
	d.HintBytes, d.Draining, d.Leaving = &status.HintBytes, &status.Draining, named(m, status.Leaving)
	if status.Pending > 0 {
		d.Transfer = &transferDoc{Pending: status.Pending, BytesDone: status.TransferDone, BytesTotal: status.TransferTotal}
	}
}

// askMembers gathers what the members say of themselves, and how they look
// from here.
func (s *Server) askMembers(ctx context.Context) (map[ring.NodeID]coordinator.NodeStatus, map[ring.NodeID]*peerDoc, *problem) {
	if s.opts.Diagnostics == nil {
		return nil, nil, nil
	}
	done, p := s.diagnose()
	if p != nil {
		return nil, nil, p
	}
	defer done()
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	statuses := s.opts.Diagnostics.Statuses(ctx)
	peers := make(map[ring.NodeID]*peerDoc)
	for _, p := range s.opts.Diagnostics.Peers() {
		peers[p.Node] = &peerDoc{
			Usable: p.Usable, Breaker: p.Breaker.String(), InFlight: p.InFlight,
			ReadP95MS: milliseconds(p.ReadP95), WriteP95MS: milliseconds(p.WriteP95),
		}
	}
	delete(peers, s.opts.Self)
	return statuses, peers, nil
}

// milliseconds are whole microseconds in JSON.
func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// hexHash is a 64-bit hash in JSON, whose numbers are too short for it.
func hexHash(h uint64) string { return fmt.Sprintf("%016x", h) }

func writeJSON(w http.ResponseWriter, status int, doc any) {
	body := mustJSON(doc)
	h := w.Header()
	h["Content-Type"] = jsonType
	h["X-Content-Type-Options"] = noSniff
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body)
}
