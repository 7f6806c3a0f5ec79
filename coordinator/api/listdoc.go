package api

import (
	"encoding/base64"
	"unicode/utf8"

	"starling/store/object"
)

// ndjsonType is the type of a stream of lines.
const ndjsonType = "application/x-ndjson"

// listForm is how keys are represented.
type listForm uint8

const (
	listNone listForm = iota
	listJSON
	listNDJSON
)

// negotiateList picks the form of keys by Accept, as [negotiate] does that of
// siblings: lines are for a caller who names them, at a weight no lower than that
// of JSON.
func negotiateList(accept []string) listForm {
	if len(accept) == 0 {
		return listJSON
	}
	json := accepted{typ: "application", subtype: "json"}
	lines := accepted{typ: "application", subtype: "x-ndjson"}
	offer(accept, &json, &lines)
	switch {
	case lines.q > 0 && (lines.precision == precisionFull && lines.q >= json.q || json.q == 0):
		return listNDJSON
	case json.q > 0:
		return listJSON
	default:
		return listNone
	}
}

// listedKey is the JSON of a key: with its value, or its siblings where it has
// several, if these were asked for. A key that is not UTF-8 comes in base64,
// under another name.
type listedKey struct {
	Key       string `json:"key,omitempty"`
	KeyBase64 string `json:"key_base64,omitempty"`
	Context   string `json:"context,omitempty"`
	*siblingDoc
	Siblings []siblingDoc `json:"siblings,omitempty"`
}

// listedKey describes a key of a page; not ok: its value has expired since the
// page was gathered.
func (s *Server) listedKey(q *listing, e *object.Entry) (doc listedKey, ok bool) {
	doc.Key, doc.KeyBase64 = eitherText(e.Ref.Key)
	if !q.want.values {
		return doc, true
	}
	doc.Context = q.sealToken(e.Ref.Key, e.Object.Context())
	live := siblingDocs(s.view(&q.inBucket, e.Object).Live)
	if len(live) == 1 {
		doc.siblingDoc = &live[0]
	} else {
		doc.Siblings = live
	}
	return doc, len(live) > 0
}

// eitherText is text where it is UTF-8, and else in base64.
func eitherText(s string) (text, encoded string) {
	if utf8.ValidString(s) {
		return s, ""
	}
	return "", base64.StdEncoding.EncodeToString([]byte(s))
}
