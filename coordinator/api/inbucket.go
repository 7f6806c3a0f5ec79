package api

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"starling/coordinator"
	"starling/store/bucket"
	"starling/store/bucket/resolve"
	"starling/store/object"
	"starling/store/version"
)

// inBucket is what a request knows of its bucket. Callers name a bucket; the
// objects of each incarnation of it are stored under a name of its own, which
// this package alone looks up.
type inBucket struct {
	// record is what the cluster map has of the bucket, its properties among
	// that; stored is the name in the store.
	record bucket.Record
	stored string
}

// lookUp finds the request's bucket in the cluster map as it is now, and reports
// whether the stored name is another than before.
func (s *Server) lookUp(q *keyRequest) (changed bool) {
	before := q.stored
	q.cluster = s.opts.Cluster.Map()
	q.record = q.cluster.Buckets.Find(q.bucket)
	q.stored = q.record.Stored()
	return q.stored != before
}

// moved reports whether a request that failed with err is to be carried out once
// more, because its bucket was dropped and goes on under another name. What the
// caller had seen is gone: the context is that of nothing.
func (s *Server) moved(q *keyRequest, err error) bool {
	if !errors.Is(err, coordinator.ErrGone) || !s.lookUp(q) {
		return false
	}
	q.context = version.Context{}
	return true
}

// view is what a reader of a key sees.
type view struct {
	resolve.View
	// made are the versions that Live was made of.
	made []version.Dot
}

// view is that of a key in the bucket, now.
func (s *Server) view(b *inBucket, o object.Object) view {
	m, nowMS := b.record.Properties.Mode, s.opts.Now().UnixMilli()
	v := view{View: resolve.Read(m, o, nowMS)}
	if merges(m) {
		v.made = dotsOf(o.Live(nowMS))
	} else {
		v.made = dotsOf(v.Live)
	}
	return v
}

// merges reports whether a mode makes values of its own from those that were put.
func merges(m bucket.Mode) bool { return m != bucket.Siblings && m != bucket.LWW }

// keeps reports whether a value that was put is read as it was written. If not,
// the answer to the put has no ETag: the writer does not have what that is of.
func (b *inBucket) keeps() bool { return !merges(b.record.Properties.Mode) }

// unfit refuses a value that does not fit the bucket's mode.
func (b *inBucket) unfit(value []byte) *problem {
	m := b.record.Properties.Mode
	if err := resolve.Check(m, value); err != nil {
		why := strings.TrimPrefix(plainText(err), plainText(resolve.ErrUnfit)+": ") // which is the title
		return &problem{kind: &kindUnfit, detail: fmt.Sprintf("The bucket has conflicts=%s: %s. Nothing was written.", m, why)}
	}
	return nil
}

// consistency is what the request asks for, and where it names no level and no
// number, what its bucket has.
func (q *keyRequest) consistency() coordinator.Consistency {
	c, p := q.params.consistency, &q.record.Properties
	if c.Level != coordinator.LevelDefault {
		return c
	}
	if c.R == 0 {
		c.R = int(p.R)
	}
	if c.W == 0 {
		c.W = int(p.W)
	}
	if level, err := coordinator.ParseLevel(p.Level); err == nil { // else there is none
		c.Level = level
	}
	return c
}

// expiresMS is when a value that is put now goes by its own time, or else by the
// bucket's: Unix milliseconds; 0: never.
func (s *Server) expiresMS(q *keyRequest, ttl time.Duration) int64 {
	if ttl == 0 {
		ttl = q.record.Properties.TTL
	}
	if ttl == 0 {
		return 0
	}
	return s.opts.Now().Add(ttl).UnixMilli()
}

// valueLimit is the most bytes that a value may have: the node's bound, or the
// bucket's where that is less.
func (s *Server) valueLimit(q *keyRequest) int {
	limit := s.opts.MaxValueBytes
	if own := q.record.Properties.MaxValueBytes; own > 0 && own < uint64(limit) {
		limit = int(own)
	}
	return limit
}

// maxOlderContexts bounds how many incarnations of a bucket back a context may be.
const maxOlderContexts = 8

// openToken opens a token about a key of the request's bucket. One that is about
// an incarnation that is gone is a context of nothing: what it has seen is not
// there to be superseded, and everything there is newer.
func (q *keyRequest) openToken(key, token string) (version.Context, error) {
	secret := q.cluster.Settings.Secret[:]
	c, err := version.Open(secret, q.stored, key, token)
	if err == nil {
		return c, nil
	}
	for back := range min(q.record.Incarnation, maxOlderContexts) {
		if _, older := version.Open(secret, bucket.Stored(q.bucket, q.record.Incarnation-1-back), key, token); older == nil {
			return version.Context{}, nil
		}
	}
	return c, err
}

// sealToken is the token of what a caller has seen of a key of the request's
// bucket.
func (q *keyRequest) sealToken(key string, c version.Context) string {
	return version.Seal(q.cluster.Settings.Secret[:], q.stored, key, c)
}
