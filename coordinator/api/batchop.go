package api

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"starling/coordinator"
	"starling/store/object"
	"starling/store/version"
)

// batchOpDoc is the JSON of one operation. Fields that are not given are nil.
type batchOpDoc struct {
	Op             string            `json:"op"`
	Key            *string           `json:"key"`
	KeyBase64      *string           `json:"key_base64"`
	Value          *string           `json:"value"`
	ValueBase64    *string           `json:"value_base64"`
	ContentType    *string           `json:"content_type"`
	Meta           map[string]string `json:"meta"`
	TTL            *string           `json:"ttl"`
	Context        *string           `json:"context"`
	IdempotencyKey *string           `json:"idempotency_key"`
	Delta          *int64            `json:"delta"`
	Replace        bool              `json:"replace"`
}

// batchOpNames are the operations of a batch.
var batchOpNames = map[string]op{"get": opGet, "put": opPut, "delete": opDelete, "add": opAdd}

// parse reads one operation. What is wrong with it is what would be wrong with
// the request for that key alone, or with the document.
func (b *batch) parse(o *batchOp, raw json.RawMessage) (p *problem) {
	o.op = opAdmin
	var doc batchOpDoc
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(&doc); err != nil {
		return badOperation("The operation must be a JSON object of known fields: " + plainText(err) + ".")
	}
	known, ok := batchOpNames[doc.Op]
	if !ok {
		return field("op", badOperation(fmt.Sprintf("op %q: allowed are get, put, delete and add.", clip(doc.Op))))
	}
	if o.op = known; replaced(raw, &doc) {
		return badOperation("A string has half of a surrogate pair, which no UTF-8 can hold: give it in base64.")
	}
	if name := doc.foreign(o.op); name != "" {
		return field(name, badOperation(fmt.Sprintf("%s is not for %s.", name, o.op.method())))
	}
	if o.key, p = doc.key(); p != nil {
		return p
	}
	c, given, p := b.openContext(&doc, o.key)
	if p != nil {
		return p
	}
	switch o.op {
	case opGet:
		return b.parseGet(o, c)
	case opAdd:
		return b.parseAdd(o, &doc)
	default:
		return b.parseWrite(o, &doc, c, given)
	}
}

func (b *batch) parseGet(o *batchOp, c version.Context) *problem {
	cons := b.q.consistency()
	if cons.Level == coordinator.LevelAny && cons.R == 0 {
		return badParameter("consistency", `consistency="any": any is for writes; a read takes one, two, three, quorum or all.`)
	}
	o.carried.Get = &coordinator.GetRequest{Bucket: o.stored, Key: o.key, Consistency: cons, Session: c}
	return nil
}

func (b *batch) parseWrite(o *batchOp, doc *batchOpDoc, c version.Context, given bool) *problem {
	put := &coordinator.PutRequest{Bucket: o.stored, Key: o.key, Consistency: b.q.consistency(), Context: c}
	idempotency, p := doc.idempotency()
	if p != nil {
		return p
	}
	sib := &put.Sibling
	var ttl time.Duration
	put.ReadFirst = !given && (doc.Replace || o.op == opDelete)
	switch {
	case doc.Replace && given:
		return field("replace", badOperation("replace and context are both given."))
	case o.op == opDelete:
		sib.Tombstone = true
	default:
		if ttl, p = b.parseSibling(sib, doc); p != nil {
			return p
		}
	}
	if put.ReadFirst && put.Consistency.Level == coordinator.LevelAny && put.Consistency.R == 0 {
		put.Consistency.R = 1 // as for a single delete
	}
	sib.Op = operationID(idempotency, b.q.bucket, o.key, sib, ttl)
	o.carried.Put = put
	return nil
}

// parseAdd reads an increment.
func (b *batch) parseAdd(o *batchOp, doc *batchOpDoc) *problem {
	switch {
	case doc.Delta == nil:
		return field("delta", badOperation("There is no delta."))
	case b.q.params.timeout > maxAddTimeout:
		return badParameter("timeout", fmt.Sprintf("timeout=%q: a batch with increments may take %s at most. Nothing was added.", b.q.params.timeout, maxAddTimeout))
	}
	if p := b.q.uncounted(); p != nil {
		return field("op", p)
	}
	idempotency, p := doc.idempotency()
	if p != nil {
		return p
	}
	ttl, p := doc.ttl()
	if p != nil {
		return p
	}
	o.carried.Put = &coordinator.PutRequest{
		Bucket: o.stored, Key: o.key, Consistency: b.q.consistency(), Increment: true, Delta: *doc.Delta,
		Sibling: object.Sibling{Op: addID(idempotency, b.q.bucket, o.key, *doc.Delta, ttl), ExpiresMS: b.s.expiresMS(b.q, ttl)},
	}
	return nil
}

// parseSibling reads what is to be stored.
func (b *batch) parseSibling(sib *object.Sibling, doc *batchOpDoc) (ttl time.Duration, p *problem) {
	if sib.Value, p = doc.value(); p != nil {
		return 0, p
	}
	if limit := b.s.valueLimit(b.q); len(sib.Value) > limit {
		return 0, tooLarge(limit)
	}
	if p = b.q.unfit(sib.Value); p != nil {
		return 0, field("value", p)
	}
	h := http.Header{}
	if doc.ContentType != nil {
		h.Set("Content-Type", strings.Trim(*doc.ContentType, " \t"))
	}
	if sib.ContentType, p = contentType(h); p != nil || !plainHeader(sib.ContentType) {
		if p == nil {
			p = badOperation("content_type has a control character.")
		}
		return 0, field("content_type", p)
	}
	if sib.Meta, p = doc.metaFields(); p != nil {
		return 0, field("meta", p)
	}
	if ttl, p = doc.ttl(); p != nil {
		return 0, p
	}
	sib.ExpiresMS = b.s.expiresMS(b.q, ttl)
	return ttl, nil
}

func (d *batchOpDoc) ttl() (time.Duration, *problem) {
	var ps params
	if d.TTL == nil {
		return 0, nil
	}
	if err := setTTL(nil, &ps, *d.TTL); err != nil {
		return 0, field("ttl", badOperation(fmt.Sprintf("ttl=%q: %s.", clip(*d.TTL), err)))
	}
	return ps.ttl, nil
}

func (b *batch) openContext(doc *batchOpDoc, key string) (c version.Context, given bool, p *problem) {
	if doc.Context == nil || *doc.Context == "" {
		return c, false, nil
	}
	c, err := b.q.openToken(key, *doc.Context)
	if err != nil {
		return c, false, &problem{kind: &kindContext, parameter: "context", detail: "context: " + plainText(err) + "."}
	}
	return c, true, nil
}

// foreign is the name of a field that the operation does not take; "" for none.
func (d *batchOpDoc) foreign(o op) string {
	for _, f := range [...]struct {
		name  string
		given bool
		ops   [ops]bool
	}{
		{"value", d.Value != nil, putOp},
		{"value_base64", d.ValueBase64 != nil, putOp},
		{"content_type", d.ContentType != nil, putOp},
		{"meta", d.Meta != nil, putOp},
		{"ttl", d.TTL != nil, ttlOps},
		{"delta", d.Delta != nil, addOp},
		{"context", d.Context != nil, contextOps},
		{"replace", d.Replace, putOp},
		{"idempotency_key", d.IdempotencyKey != nil, writeOps},
	} {
		if f.given && !f.ops[o] {
			return f.name
		}
	}
	return ""
}

func (d *batchOpDoc) key() (string, *problem) {
	key, p := oneOf("key", d.Key, d.KeyBase64)
	switch {
	case p != nil:
		return "", p
	case len(key) == 0 || len(key) > maxKeyBytes:
		return "", field("key", &problem{kind: &kindKey, detail: fmt.Sprintf("The key has %d bytes; 1 to %d are allowed.", len(key), maxKeyBytes)})
	}
	return string(key), nil
}

func (d *batchOpDoc) value() ([]byte, *problem) { return oneOf("value", d.Value, d.ValueBase64) }

// oneOf is a field that is given as text or in base64.
func oneOf(name string, text, encoded *string) ([]byte, *problem) {
	switch {
	case text == nil && encoded == nil:
		return nil, field(name, badOperation(fmt.Sprintf("There is no %s and no %s_base64.", name, name)))
	case text != nil && encoded != nil:
		return nil, field(name, badOperation(fmt.Sprintf("%s and %s_base64 are both given.", name, name)))
	case text != nil:
		return []byte(*text), nil
	}
	b, err := base64.StdEncoding.Strict().DecodeString(*encoded)
	if err != nil {
		return nil, field(name+"_base64", badOperation(fmt.Sprintf("%s_base64 is not base64 (RFC 4648, with padding).", name)))
	}
	return b, nil
}

func (d *batchOpDoc) idempotency() (string, *problem) {
	if d.IdempotencyKey == nil {
		return "", nil
	}
	v, p := idempotencyKey(http.Header{hIdempotencyKey: {*d.IdempotencyKey}})
	if p != nil {
		return "", field("idempotency_key", p)
	}
	return v, nil
}

// metaFields are those that the same names and values as headers would give.
func (d *batchOpDoc) metaFields() ([]object.Field, *problem) {
	if len(d.Meta) == 0 {
		return nil, nil
	}
	h := make(http.Header, len(d.Meta))
	for name, value := range d.Meta {
		if !isToken(name) || !plainHeader(value) {
			return nil, badOperation(fmt.Sprintf("meta %q: a name is a header token, and a value has no control characters.", clip(name)))
		}
		h.Add(hMetaPrefix+name, strings.Trim(value, " \t"))
	}
	return metaFields(h)
}

// plainHeader says whether a header can have this value.
func plainHeader(v string) bool {
	for i := range len(v) {
		if v[i] < ' ' && v[i] != '\t' || v[i] == 0x7f {
			return false
		}
	}
	return true
}

// replaced says whether decoding put U+FFFD where the document has something
// else, which would store another key or value than the caller's.
func replaced(raw json.RawMessage, doc *batchOpDoc) bool {
	const mark = "\uFFFD"
	if !bytes.Contains(raw, []byte(`\u`)) {
		return false
	}
	n := 0
	for _, s := range [...]*string{doc.Key, doc.Value, doc.ContentType} {
		if s != nil {
			n += strings.Count(*s, mark)
		}
	}
	for _, v := range doc.Meta {
		n += strings.Count(v, mark)
	}
	return n > bytes.Count(raw, []byte(mark))+bytes.Count(bytes.ToLower(raw), []byte(`\ufffd`))
}

func badOperation(detail string) *problem {
	return &problem{kind: &kindBody, detail: detail + " The other operations are not concerned."}
}

// field says which field of an operation a problem is about.
func field(name string, p *problem) *problem {
	p.parameter, p.header = name, ""
	return p
}
