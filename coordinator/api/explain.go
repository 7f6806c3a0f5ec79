package api

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"starling/coordinator"
	"starling/gossip/state"
)

const (
	// maxDiagnoses bounds the requests that ask other members, each of which
	// is many.
	maxDiagnoses = 64
	// statusTimeout bounds the wait for the members' statuses.
	statusTimeout = time.Second
)

// diagnose takes a place among those who ask other members; done gives it back.
func (s *Server) diagnose() (done func(), p *problem) {
	select {
	case s.diagnoses <- struct{}{}:
		return func() { <-s.diagnoses }, nil
	default:
		s.metrics.refused[refusedRequests].Inc()
		return nil, refusal(&kindOverloaded, opAdmin, "This node is asking the others for "+strconv.Itoa(maxDiagnoses)+" callers already, as many as it may.")
	}
}

// notOffered answers for what the node was made without.
func notOffered() *problem {
	return refusal(&kindNotReady, opAdmin, "This node does not offer that.")
}

// explainDoc is the JSON of /v1/explain/{bucket}/{key…}.
type explainDoc struct {
	keyDoc
	Node      string `json:"node"` // that asked
	Partition int    `json:"partition"`
	Agree     bool   `json:"agree"`
	// Verdict says the same and why to a person.
	Verdict  string          `json:"verdict"`
	Replicas []explainedNode `json:"replicas"`
}

// keyDoc names a key; KeyEncoding is "base64" where the key is not UTF-8.
type keyDoc struct {
	Bucket      string `json:"bucket"`
	Key         string `json:"key"`
	KeyEncoding string `json:"key_encoding,omitempty"`
}

func newKeyDoc(bucket, key string) keyDoc {
	d := keyDoc{Bucket: bucket}
	encoding, text := textOf([]byte(key))
	d.Key = text
	if encoding != "utf-8" {
		d.KeyEncoding = encoding
	}
	return d
}

type explainedNode struct {
	Node  string `json:"node"`
	Role  string `json:"role"`
	Alive bool   `json:"alive"`
	// Hash is empty where nothing is held. Hinted: what is shown is not a copy
	// of the node's own but the first of its hints.
	Hash     string            `json:"hash"`
	Hinted   bool              `json:"hinted"`
	Vector   map[string]uint64 `json:"vector"`
	Siblings []explainedValue  `json:"siblings"`
	// Hints counts the hints that the node keeps of the key, HeldFor says for
	// whom and what.
	Hints   int          `json:"hints"`
	HeldFor []heldFor    `json:"held_for"`
	Leaf    *explainLeaf `json:"leaf,omitempty"`
	Error   string       `json:"error"` // why the node did not answer
}

type explainedValue struct {
	Dot      string `json:"dot"`
	Bytes    int    `json:"bytes"`
	Modified string `json:"modified"`
	Expires  string `json:"expires,omitempty"`
	Deleted  bool   `json:"deleted"`
}

type heldFor struct {
	Node string `json:"node"`
	Hash string `json:"hash"`
}

type explainLeaf struct {
	Number int    `json:"number"`
	Keys   uint64 `json:"keys"`
	Sum    string `json:"sum"`
}

func (s *Server) getExplanation(w http.ResponseWriter, r *http.Request) *problem {
	bucket, key, p := parseKeyPath(r.URL, "/v1/explain/", "/")
	if p != nil {
		return p
	}
	if s.opts.Cluster.View() == nil {
		return s.notReady(opAdmin)
	}
	if s.opts.Diagnostics == nil {
		return notOffered()
	}
	done, p := s.diagnose()
	if p != nil {
		return p
	}
	defer done()
	ctx, cancel := context.WithTimeout(r.Context(), s.opts.DefaultTimeout)
	defer cancel()
	e, err := s.opts.Diagnostics.Explain(ctx, s.opts.Cluster.Map().Buckets.Find(bucket).Stored(), key)
	m := s.opts.Cluster.Map()
	if err != nil {
		return s.problemOf(err, false, m)
	}
	doc := explainDoc{
		keyDoc: newKeyDoc(bucket, key), Node: s.opts.Name, Partition: e.Partition, Agree: e.Agree,
		Verdict: verdict(&e, m), Replicas: make([]explainedNode, len(e.Replicas)),
	}
	for i := range e.Replicas {
		doc.Replicas[i] = explainNode(&e.Replicas[i], m)
	}
	w.Header()["Cache-Control"] = noStore
	writeJSON(w, http.StatusOK, doc)
	return nil
}

func explainNode(r *coordinator.ExplainedReplica, m state.Map) explainedNode {
	d := explainedNode{
		Node: nodeName(m, r.Node), Role: r.Role.String(), Alive: r.Alive,
		Vector: map[string]uint64{}, Siblings: []explainedValue{}, HeldFor: []heldFor{},
	}
	if r.Err != nil {
		d.Error = named(m, causeText(r.Err))
		return d
	}
	shown := r.Reply.Copy
	if shown.Hash == 0 && len(r.Reply.Hints) > 0 {
		shown, d.Hinted = r.Reply.Hints[0].Copy, true
	}
	d.Hash = copyHash(shown.Hash)
	for _, dot := range shown.Vector {
		d.Vector[dot.Actor.String()] = dot.Seq
	}
	for _, sib := range shown.Siblings {
		d.Siblings = append(d.Siblings, explainValue(sib))
	}
	d.Hints = len(r.Reply.Hints)
	for _, h := range r.Reply.Hints {
		d.HeldFor = append(d.HeldFor, heldFor{Node: nodeName(m, h.For), Hash: copyHash(h.Copy.Hash)})
	}
	if r.Role != coordinator.RoleFallback {
		d.Leaf = &explainLeaf{Number: r.Reply.Leaf, Keys: r.Reply.LeafKeys, Sum: hexHash(r.Reply.LeafSum)}
	}
	return d
}

func explainValue(s coordinator.SiblingInfo) explainedValue {
	v := explainedValue{Dot: s.Dot.String(), Bytes: s.Bytes, Modified: isoTime(s.ModifiedMS), Deleted: s.Tombstone}
	if s.ExpiresMS != 0 {
		v.Expires = isoTime(s.ExpiresMS)
	}
	return v
}

// copyHash is an object's hash; empty for the object that is not there.
func copyHash(h uint64) string {
	if h == 0 {
		return ""
	}
	return hexHash(h)
}
