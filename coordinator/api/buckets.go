package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"starling/ring"
	"starling/store/bucket"
)

// bucketRoute is the path of a bucket itself.
const bucketRoute = "/v1/buckets/{bucket}"

// Buckets changes what the cluster knows of buckets.
type Buckets interface {
	// ChangeBuckets makes of what is known of buckets what change says, durably
	// here, and returns it; an error of change is returned as it is. change is
	// given what is known now, and must not modify it. Then every other member is
	// told, until ctx ends: pending are those that have not confirmed by then
	// that they obey, and learn of it later.
	ChangeBuckets(ctx context.Context, change func(bucket.Registry) (bucket.Registry, error)) (known bucket.Registry, pending []ring.NodeID, err error)
}

// kindMode is a change of how a bucket's values merge.
var kindMode = kind{409, "conflicts-differ", "The bucket resolves conflicts in another way", false}

// modeError refuses a change of a declared bucket's mode.
type modeError struct{ from, to bucket.Mode }

func (e *modeError) Error() string {
	return fmt.Sprintf("api: conflicts=%s cannot become %s", e.from, e.to)
}

// compatible: what was written under one mode can be read under the other. Both
// keep the values as they came; all others merge them, each in its own form.
func compatible(a, b bucket.Mode) bool {
	plain := func(m bucket.Mode) bool { return m == bucket.Siblings || m == bucket.LWW }
	return a == b || plain(a) && plain(b)
}

// bucketDoc is the JSON of a bucket.
type bucketDoc struct {
	Name     string `json:"name"`
	Declared bool   `json:"declared"`
	// Incarnation counts how often the bucket was dropped.
	Incarnation uint64        `json:"incarnation"`
	Properties  propertiesDoc `json:"properties"`
	// Pending are the members that have not confirmed a change.
	Pending []string `json:"pending,omitempty"`
}

func newBucketDoc(r bucket.Record) bucketDoc {
	return bucketDoc{Name: r.Name, Declared: r.Declared, Incarnation: r.Incarnation, Properties: newPropertiesDoc(r.Properties)}
}

// bucketsDoc is the JSON of /v1/buckets.
type bucketsDoc struct {
	Buckets []bucketDoc `json:"buckets"`
}

// droppedDoc is the JSON of a bucket that was dropped while members were away.
type droppedDoc struct {
	Pending []string `json:"pending"`
}

// getBuckets lists the buckets that the cluster knows something of: those that
// were declared, and those that were dropped once.
func (s *Server) getBuckets(w http.ResponseWriter, _ *http.Request) *problem {
	if s.opts.Cluster.View() == nil {
		return s.notReady(opAdmin)
	}
	known := s.opts.Cluster.Map().Buckets
	doc := bucketsDoc{Buckets: make([]bucketDoc, len(known))}
	for i, r := range known {
		doc.Buckets[i] = newBucketDoc(r)
	}
	w.Header()["Cache-Control"] = noStore
	writeJSON(w, http.StatusOK, doc)
	return nil
}

// getBucket answers for every name: a bucket that nobody declared has the
// defaults.
func (s *Server) getBucket(w http.ResponseWriter, r *http.Request) *problem {
	name, p := parseBucketPath(r.URL, "/v1/buckets/", "")
	if p != nil {
		return p
	}
	if s.opts.Cluster.View() == nil {
		return s.notReady(opAdmin)
	}
	w.Header()["Cache-Control"] = noStore
	writeJSON(w, http.StatusOK, newBucketDoc(s.opts.Cluster.Map().Buckets.Find(name)))
	return nil
}

// putBucket gives a bucket properties, all of them: those that are not named are
// the defaults.
func (s *Server) putBucket(w http.ResponseWriter, r *http.Request) *problem {
	name, p := s.bucketToChange(r)
	if p != nil {
		return p
	}
	properties, p := readProperties(w, r, int(s.opts.Cluster.Map().Settings.Replicas))
	if p != nil {
		return p
	}
	known, pending, p := s.changeBucket(r, name, func(was bucket.Record) (bucket.Record, error) {
		switch {
		case was.Declared && !compatible(was.Properties.Mode, properties.Mode):
			return was, &modeError{was.Properties.Mode, properties.Mode}
		case was.Declared && was.Properties == properties:
			return was, nil
		}
		return was.Declare(properties, s.opts.Self), nil
	})
	if p != nil {
		return p
	}
	s.opts.Logger.Info("api: bucket declared", "bucket", name, "from", r.RemoteAddr)
	doc := newBucketDoc(known)
	doc.Pending = pending
	w.Header()["Cache-Control"] = noStore
	writeJSON(w, http.StatusOK, doc)
	return nil
}

// dropBucket makes a bucket empty, with the defaults, and says who has not heard
// of it.
func (s *Server) dropBucket(w http.ResponseWriter, r *http.Request) *problem {
	name, p := s.bucketToChange(r)
	if p != nil {
		return p
	}
	if r.ContentLength != 0 {
		return badBody("Only a PUT has a body, and a DELETE came with one.")
	}
	known, pending, p := s.changeBucket(r, name, func(was bucket.Record) (bucket.Record, error) { return was.Drop(s.opts.Self), nil })
	if p != nil {
		return p
	}
	s.opts.Logger.Info("api: bucket dropped", "bucket", name, "incarnation", known.Incarnation, "pending", pending, "from", r.RemoteAddr)
	w.Header()["Cache-Control"] = noStore
	if len(pending) == 0 {
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	writeJSON(w, http.StatusOK, droppedDoc{Pending: pending})
	return nil
}

// bucketToChange is the name of a bucket that may be changed.
func (s *Server) bucketToChange(r *http.Request) (string, *problem) {
	name, p := parseBucketPath(r.URL, "/v1/buckets/", "")
	switch {
	case p != nil:
		return "", p
	case crossOrigin.Check(r) != nil:
		return "", &problem{kind: &kindOrigin, detail: "A page of another origin must not change buckets. Nothing changed."}
	case s.opts.Cluster.View() == nil:
		return "", s.notReady(opAdmin)
	case s.opts.Buckets == nil:
		return "", notOffered()
	}
	return name, nil
}

// changeBucket makes a change of one bucket, and names the members that have not
// confirmed it in time. It does not end with its caller.
func (s *Server) changeBucket(r *http.Request, name string, change func(was bucket.Record) (bucket.Record, error)) (known bucket.Record, pending []string, _ *problem) {
	done, p := s.diagnose()
	if p != nil {
		return known, nil, p
	}
	defer done()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), changeTimeout)
	defer cancel()
	all, missing, err := s.opts.Buckets.ChangeBuckets(ctx, func(g bucket.Registry) (bucket.Registry, error) {
		was := g.Find(name)
		is, err := change(was)
		if err != nil || is == was {
			return g, err
		}
		return g.With(is)
	})
	var mode *modeError
	switch {
	case errors.As(err, &mode):
		return known, nil, &problem{kind: &kindMode, detail: fmt.Sprintf(
			"The bucket %s has conflicts=%s, and what was written to it cannot be read as %s: drop the bucket first, or take another. Nothing changed.",
			name, mode.from, mode.to)}
	case err != nil:
		return known, nil, s.changeProblem(err, "a GET of the bucket says so.")
	}
	return all.Find(name), nodeNames(s.opts.Cluster.Map(), missing), nil
}

// propertiesDoc is the JSON of a bucket's properties. What is null is the default
// of the node that serves a request.
type propertiesDoc struct {
	Conflicts     string  `json:"conflicts"`
	Consistency   string  `json:"consistency"`
	R             *uint32 `json:"r"`
	W             *uint32 `json:"w"`
	TTL           *string `json:"ttl"`
	MaxSiblings   *uint32 `json:"max_siblings"`
	MaxValueBytes *uint64 `json:"max_value_bytes"`
}

func newPropertiesDoc(p bucket.Properties) propertiesDoc {
	d := propertiesDoc{
		Conflicts: p.Mode.String(), Consistency: p.Level, R: orNull(p.R), W: orNull(p.W),
		MaxSiblings: orNull(p.MaxSiblings), MaxValueBytes: orNull(p.MaxValueBytes),
	}
	if d.Consistency == "" {
		d.Consistency = defaultLevel
	}
	if p.TTL > 0 {
		text := durationText(p.TTL)
		d.TTL = &text
	}
	return d
}

func orNull[T comparable](v T) *T {
	var zero T
	if v == zero {
		return nil
	}
	return &v
}

// durationText is a duration without the units that are zero at its end: 1h, not
// 1h0m0s.
func durationText(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}
