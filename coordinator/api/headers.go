package api

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"starling/store/object"
)

// The headers of this API, in canonical form.
const (
	hContext        = "X-Starling-Context"
	hReplicas       = "X-Starling-Replicas"
	hCoordinator    = "X-Starling-Coordinator"
	hDot            = "X-Starling-Dot"
	hMetaPrefix     = "X-Starling-Meta-"
	hExpires        = "Starling-Expires-At"
	hIdempotencyKey = "Idempotency-Key"
)

// Bounds of what is kept with a value.
const (
	maxContentTypeBytes    = 256
	maxMetaFields          = 32
	maxMetaNameBytes       = 64
	maxMetaBytes           = 8 << 10 // names and values together
	maxIdempotencyKeyBytes = 255
)

const defaultContentType = "application/octet-stream"

// Header values that never change. They are shared by all answers; nothing
// may modify them.
var (
	noSniff     = []string{"nosniff"}
	sandbox     = []string{"default-src 'none'; sandbox"} // stored values are untrusted: they must not run in a browser
	noCache     = []string{"no-cache"}                    // an eventually consistent answer is checked before it is used again
	noStore     = []string{"no-store"}
	varyAccept  = []string{"Accept"}
	problemType = []string{"application/problem+json"}
	jsonType    = []string{"application/json"}

	closeConnection = []string{"close"}
)

// one is the value of a header that may be given once; "" when it is absent.
func one(h http.Header, name string) (string, *problem) {
	values := h[name]
	switch len(values) {
	case 0:
		return "", nil
	case 1:
		return values[0], nil
	default:
		return "", badHeader(name, name+" is given more than once.")
	}
}

// refuseUnsupported refuses headers that would change what a request means
// and that this store cannot honour. To ignore them would be worse.
func refuseUnsupported(h http.Header, o op) *problem {
	const conditional = " is not supported: with replicas that take writes independently no node can check it. Give the X-Starling-Context of the last read: a concurrent write is then kept as a sibling."
	for _, name := range [...]string{"If-Match", "If-Unmodified-Since"} {
		if _, ok := h[name]; ok {
			return badHeader(name, name+conditional)
		}
	}
	if !o.write() {
		return nil
	}
	if _, ok := h["If-None-Match"]; ok {
		return badHeader("If-None-Match", "If-None-Match on a write"+conditional)
	}
	if o != opPut {
		return nil
	}
	if _, ok := h["Content-Range"]; ok {
		return badHeader("Content-Range", "Content-Range is not supported: a value is written as a whole.")
	}
	for _, v := range h["Content-Encoding"] {
		if !strings.EqualFold(v, "identity") {
			return badHeader("Content-Encoding", "Content-Encoding is not supported: it would not be kept with the value. Leave it out and name the encoding in Content-Type.")
		}
	}
	return nil
}

// contentType is the type to keep with a value.
func contentType(h http.Header) (string, *problem) {
	v, p := one(h, "Content-Type")
	switch {
	case p != nil:
		return "", p
	case v == "":
		return defaultContentType, nil
	case len(v) > maxContentTypeBytes:
		return "", badHeader("Content-Type", fmt.Sprintf("Content-Type has %d bytes; at most %d are kept.", len(v), maxContentTypeBytes))
	case !isMediaType(v) || !utf8.ValidString(v):
		return "", badHeader("Content-Type", fmt.Sprintf("Content-Type %q is not a media type such as text/plain; charset=utf-8.", clip(v)))
	}
	return v, nil
}

// isMediaType checks type "/" subtype; what follows a semicolon is free.
func isMediaType(v string) bool {
	essence, _, _ := strings.Cut(v, ";")
	typ, subtype, ok := strings.Cut(strings.TrimRight(essence, " \t"), "/")
	return ok && isToken(typ) && isToken(subtype)
}

// isToken reports whether s is a token of RFC 9110, section 5.6.2.
func isToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		if c <= ' ' || c >= 0x7f || strings.IndexByte(`"(),/:;<=>?@[\]{}`, c) >= 0 {
			return false
		}
	}
	return s != ""
}

// metaFields are the X-Starling-Meta- headers, by lower-case name, sorted.
func metaFields(h http.Header) ([]object.Field, *problem) {
	var fields []object.Field
	total := 0
	for name, values := range h {
		if !strings.HasPrefix(name, hMetaPrefix) {
			continue
		}
		if len(values) != 1 {
			return nil, badHeader(clip(name), clip(name)+" is given more than once.")
		}
		f := object.Field{Name: strings.ToLower(name[len(hMetaPrefix):]), Value: values[0]}
		if f.Name == "" || len(f.Name) > maxMetaNameBytes {
			return nil, badHeader(clip(name), fmt.Sprintf("What follows %s must have 1 to %d bytes.", hMetaPrefix, maxMetaNameBytes))
		}
		if !utf8.ValidString(f.Value) {
			return nil, badHeader(name, name+" is not UTF-8.")
		}
		fields = append(fields, f)
		total += len(f.Name) + len(f.Value)
	}
	if len(fields) > maxMetaFields {
		return nil, badHeader(hMetaPrefix+"*", fmt.Sprintf("There are %d %s* headers; at most %d are kept.", len(fields), hMetaPrefix, maxMetaFields))
	}
	if total > maxMetaBytes {
		return nil, badHeader(hMetaPrefix+"*", fmt.Sprintf("The names and values of the %s* headers have %d bytes together; at most %d are kept.", hMetaPrefix, total, maxMetaBytes))
	}
	slices.SortFunc(fields, func(a, b object.Field) int { return strings.Compare(a.Name, b.Name) })
	return fields, nil
}

// idempotencyKey is the caller's name for a write; "" when there is none.
func idempotencyKey(h http.Header) (string, *problem) {
	if _, ok := h[hIdempotencyKey]; !ok {
		return "", nil
	}
	v, p := one(h, hIdempotencyKey)
	if p != nil {
		return "", p
	}
	bad := v == "" || len(v) > maxIdempotencyKeyBytes
	for i := range len(v) {
		bad = bad || v[i] < ' ' || v[i] > '~'
	}
	if bad {
		return "", badHeader(hIdempotencyKey, fmt.Sprintf("%s must be 1 to %d printable ASCII characters.", hIdempotencyKey, maxIdempotencyKeyBytes))
	}
	return v, nil
}

// operationID names a write. With an idempotency key it is the same for every
// repetition of the same write, whichever node takes it, and differs for any
// other; without one every request is a write of its own.
func operationID(idempotencyKey, bucket, key string, sib *object.Sibling, ttl time.Duration) (id object.OpID) {
	if idempotencyKey == "" {
		_, _ = rand.Read(id[:]) // it never fails
		return id
	}
	h := sha256.New()
	hashPart(h, idempotencyKey)
	hashPart(h, bucket)
	hashPart(h, key)
	hashPart(h, sib.ContentType)
	h.Write([]byte{byte(len(sib.Meta))}) // at most maxMetaFields
	for _, f := range sib.Meta {
		hashPart(h, f.Name)
		hashPart(h, f.Value)
	}
	var tail [9]byte
	binary.BigEndian.PutUint64(tail[:], uint64(ttl))
	if sib.Tombstone {
		tail[8] = 1
	}
	h.Write(tail[:])
	h.Write(sib.Value) // last, so that it needs no length
	copy(id[:], h.Sum(nil))
	return id
}

// hashPart adds one part with its length, so that two lists of parts differ.
func hashPart(h hash.Hash, s string) {
	var n [4]byte
	binary.BigEndian.PutUint32(n[:], uint32(len(s)))
	h.Write(n[:])
	h.Write([]byte(s))
}

// prefersRepresentation reports whether a Prefer header asks for a receipt
// (RFC 7240). Of two contradicting preferences the first counts.
func prefersRepresentation(h http.Header) bool {
	for _, line := range h["Prefer"] {
		for item := range strings.SplitSeq(line, ",") {
			pref, _, _ := strings.Cut(item, ";")
			name, value, _ := strings.Cut(pref, "=")
			if !strings.EqualFold(strings.TrimSpace(name), "return") {
				continue
			}
			return strings.EqualFold(strings.Trim(strings.TrimSpace(value), `"`), "representation")
		}
	}
	return false
}

// httpTime is a Unix time in milliseconds as headers have it: whole seconds.
func httpTime(ms int64) string { return time.UnixMilli(ms).UTC().Format(http.TimeFormat) }

// isoTime is a Unix time in milliseconds as RFC 3339 has it.
func isoTime(ms int64) string { return time.UnixMilli(ms).UTC().Format("2006-01-02T15:04:05.000Z") }
