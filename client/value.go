package client

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Header names of the HTTP interface.
const (
	headerContext     = "X-Starling-Context"
	headerMeta        = "X-Starling-Meta-"
	headerReplicas    = "X-Starling-Replicas"
	headerCoordinator = "X-Starling-Coordinator"
	headerExpires     = "Starling-Expires-At"
)

// acceptSiblings asks for siblings as JSON and for a single value as it is.
const acceptSiblings = "application/json, multipart/mixed;q=0, */*;q=0.5"

// Value is what a read saw.
type Value struct {
	// Data is the value; where siblings were resolved, the resolved one.
	Data []byte
	// ContentType and Meta were stored with the value. Meta's names are in
	// lower case.
	ContentType string
	Meta        map[string]string
	// Context is what this read has seen, siblings included. A put given it
	// supersedes all of that.
	Context string
	// Modified is when the value was written, by its coordinator's clock;
	// zero where the server did not say. A single value's is in whole seconds.
	Modified time.Time
	// Expires is when a value with a TTL ends; zero for others.
	Expires time.Time
	// ETag is a digest of Context.
	ETag string
	// Siblings are the concurrent values, two or more; nil for a single one.
	Siblings []Sibling
	// Replicas tells who answered, for example "acked=2 hinted=0 required=2"; those
	// that were hinted came from the hints of nodes that stand in for others.
	Replicas string
	// Coordinator is the node that answered.
	Coordinator string
}

// Sibling is one of several concurrent values of a key.
type Sibling struct {
	// Dot identifies the write. Opaque.
	Dot         string
	Data        []byte
	ContentType string
	// Meta's names are in lower case.
	Meta     map[string]string
	Modified time.Time
	// Expires is when a value with a TTL ends; zero for others.
	Expires time.Time
}

// Previous is what lost against the newest value of a key.
type Previous struct {
	// Values are newest first.
	Values []Sibling
	// Context is what this read has seen, the newest value included.
	Context string
	// Replicas and Coordinator are as in [Value].
	Replicas    string
	Coordinator string
}

// Written is what a put, a delete or an increment answered.
type Written struct {
	// Context is what the writer has seen now: give it to the next put of
	// this key. It does not cover siblings that the writer has not read.
	Context string
	// ETag is a digest of Context; empty where the bucket merges values, and after
	// a delete or an increment.
	ETag string
	// Replicas counts acknowledgements, for example
	// "acked=2 hinted=1 required=2".
	Replicas string
	// Coordinator is the node that answered.
	Coordinator string
	// Receipt says more of a put; nil unless it was asked for.
	Receipt *Receipt
}

// Receipt is what became of a put at each replica.
type Receipt struct {
	// Dot names the write. Opaque.
	Dot string `json:"dot"`
	// Modified is the time that was stored with it.
	Modified time.Time `json:"modified"`
	// Acked, Hinted and Required count replicas.
	Acked    int `json:"acked"`
	Hinted   int `json:"hinted"`
	Required int `json:"required"`
	// Replicas has all that were asked.
	Replicas []ReplicaReceipt `json:"replicas"`
}

// ReplicaReceipt is what is known of a write at one replica.
type ReplicaReceipt struct {
	Node string `json:"node"`
	// Outcome is "acked", "hinted", "failed" or "unknown", which also stands
	// for an answer that had not come when the quorum was complete.
	Outcome string `json:"outcome"`
	// Holder is the node that keeps a hinted write for Node.
	Holder string `json:"holder,omitempty"`
}

// Resolver merges siblings, two or more, into one value. It may be called
// again with the same siblings, at any client, in any order: it should be a
// function of the set.
type Resolver func(siblings []Sibling) (Sibling, error)

// LatestModified resolves siblings to the one written last by the
// coordinators' clocks, and to the greater dot where these are equal. The
// other writes are lost once the result is written: use it for values where
// that does not matter.
func LatestModified(siblings []Sibling) (Sibling, error) {
	return slices.MaxFunc(siblings, func(a, b Sibling) int {
		if c := a.Modified.Compare(b.Modified); c != 0 {
			return c
		}
		return strings.Compare(a.Dot, b.Dot)
	}), nil
}

// value reads a 200 or 300 answer.
func (a *answer) value(resolve Resolver) (*Value, error) {
	v := &Value{
		Context:     a.header.Get(headerContext),
		ETag:        a.header.Get("Etag"),
		Replicas:    a.header.Get(headerReplicas),
		Coordinator: a.header.Get(headerCoordinator),
	}
	if a.status == http.StatusMultipleChoices {
		if err := v.readSiblings(a.body); err != nil {
			return nil, err
		}
		return v, v.resolve(resolve)
	}
	v.Data = a.body
	v.ContentType = a.header.Get("Content-Type")
	v.Meta = readMeta(a.header)
	v.Modified = readTime(a.header.Get("Last-Modified"))
	v.Expires = readTime(a.header.Get(headerExpires))
	return v, nil
}

// siblingJSON is one value of a 300, or in the answer to a batch.
type siblingJSON struct {
	Dot         string            `json:"dot"`
	ContentType string            `json:"content_type"`
	Meta        map[string]string `json:"meta"`
	Modified    string            `json:"modified"`
	ExpiresAt   string            `json:"expires_at"`
	Encoding    string            `json:"encoding"`
	Value       string            `json:"value"`
}

func (s *siblingJSON) sibling() (Sibling, error) {
	data := []byte(s.Value)
	switch s.Encoding {
	case "utf-8":
	case "base64":
		var err error
		if data, err = base64.StdEncoding.DecodeString(s.Value); err != nil {
			return Sibling{}, fmt.Errorf("siblings: %w", err)
		}
	default:
		return Sibling{}, fmt.Errorf("siblings: unknown encoding %q", s.Encoding)
	}
	return Sibling{
		Dot: s.Dot, Data: data, ContentType: s.ContentType, Meta: lowerNames(s.Meta),
		Modified: readTime(s.Modified), Expires: readTime(s.ExpiresAt),
	}, nil
}

// readSiblings reads the JSON body of a 300.
func (v *Value) readSiblings(body []byte) error {
	var doc struct {
		Context  string        `json:"context"`
		Siblings []siblingJSON `json:"siblings"`
	}
	if err := json.Unmarshal(body, &doc); err != nil {
		return fmt.Errorf("siblings: %w", err)
	}
	if v.Context == "" {
		v.Context = doc.Context
	}
	return v.setSiblings(doc.Siblings)
}

func (v *Value) setSiblings(docs []siblingJSON) (err error) {
	if len(docs) < 2 {
		return fmt.Errorf("siblings: the answer has %d of them", len(docs))
	}
	v.Siblings, err = siblingList(docs)
	return err
}

func siblingList(docs []siblingJSON) (siblings []Sibling, err error) {
	for i := range docs {
		s, err := docs[i].sibling()
		if err != nil {
			return nil, err
		}
		siblings = append(siblings, s)
	}
	return siblings, nil
}

func (a *answer) previous() (p *Previous, err error) {
	var doc struct {
		Context  string        `json:"context"`
		Previous []siblingJSON `json:"previous"`
	}
	if err := json.Unmarshal(a.body, &doc); err != nil {
		return nil, err
	}
	p = &Previous{Context: doc.Context, Replicas: a.header.Get(headerReplicas), Coordinator: a.header.Get(headerCoordinator)}
	p.Values, err = siblingList(doc.Previous)
	return p, err
}

// resolve fills in the value that stands for the siblings.
func (v *Value) resolve(r Resolver) error {
	if r == nil {
		return &SiblingsError{Value: v}
	}
	s, err := r(slices.Clone(v.Siblings))
	if err != nil {
		return fmt.Errorf("resolve %d siblings: %w", len(v.Siblings), err)
	}
	v.Data, v.ContentType, v.Meta, v.Modified, v.Expires = s.Data, s.ContentType, s.Meta, s.Modified, s.Expires
	return nil
}

func (a *answer) written() *Written {
	return &Written{
		Context:     a.header.Get(headerContext),
		ETag:        a.header.Get("Etag"),
		Replicas:    a.header.Get(headerReplicas),
		Coordinator: a.header.Get(headerCoordinator),
	}
}

// receipt reads the body of a put that was asked for one. It is nil where the
// server sent none: the put is done all the same.
func (a *answer) receipt() *Receipt {
	r := new(Receipt)
	if json.Unmarshal(a.body, r) != nil {
		return nil
	}
	return r
}

func readMeta(h http.Header) map[string]string {
	var meta map[string]string
	for name, values := range h {
		if rest, ok := strings.CutPrefix(name, headerMeta); ok && len(values) > 0 {
			if meta == nil {
				meta = make(map[string]string)
			}
			meta[strings.ToLower(rest)] = values[0]
		}
	}
	return meta
}

func lowerNames(m map[string]string) map[string]string {
	if len(m) == 0 {
		return nil
	}
	out := make(map[string]string, len(m))
	for name, value := range m {
		out[strings.ToLower(name)] = value
	}
	return out
}

// readTime reads RFC 3339, as JSON has it, or an HTTP date; zero for neither.
func readTime(s string) time.Time {
	if t, err := time.Parse(time.RFC3339Nano, s); err == nil {
		return t
	}
	if t, err := http.ParseTime(s); err == nil {
		return t
	}
	return time.Time{}
}

// SiblingsError says that a key has several concurrent values and that no
// resolver was given. Value bears them, and the context that supersedes all.
type SiblingsError struct {
	Value *Value
}

// Error implements error.
func (e *SiblingsError) Error() string {
	return fmt.Sprintf("%d concurrent siblings and no resolver", len(e.Value.Siblings))
}

// Siblings gives the unresolved value of an error from Get.
func Siblings(err error) (*Value, bool) {
	var e *SiblingsError
	if errors.As(err, &e) {
		return e.Value, true
	}
	return nil, false
}
