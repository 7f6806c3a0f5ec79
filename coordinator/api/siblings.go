package api

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"mime/multipart"
	"net/textproto"
	"unicode/utf8"

	"starling/store/object"
)

// siblingsDoc is the JSON of a 300.
type siblingsDoc struct {
	Context  string       `json:"context"`
	Siblings []siblingDoc `json:"siblings"`
}

type siblingDoc struct {
	Dot         string            `json:"dot"`
	ContentType string            `json:"content_type"`
	Modified    string            `json:"modified"`
	ExpiresAt   string            `json:"expires_at,omitempty"`
	Meta        map[string]string `json:"meta,omitempty"`
	Encoding    string            `json:"encoding"`
	Value       string            `json:"value"`
}

func siblingsJSON(token string, live []object.Sibling) []byte {
	return mustJSON(siblingsDoc{Context: token, Siblings: siblingDocs(live)})
}

func siblingDocs(live []object.Sibling) []siblingDoc {
	docs := make([]siblingDoc, len(live))
	for i := range live {
		docs[i] = newSiblingDoc(&live[i])
	}
	return docs
}

func newSiblingDoc(s *object.Sibling) siblingDoc {
	d := siblingDoc{Dot: s.Dot.String(), ContentType: s.ContentType, Modified: isoTime(s.ModifiedMS)}
	d.Encoding, d.Value = textOf(s.Value)
	if s.ExpiresMS != 0 {
		d.ExpiresAt = isoTime(s.ExpiresMS)
	}
	if len(s.Meta) > 0 {
		d.Meta = make(map[string]string, len(s.Meta))
		for _, f := range s.Meta {
			d.Meta[f.Name] = f.Value
		}
	}
	return d
}

// textOf puts bytes into a JSON string: as they are if they are UTF-8.
func textOf(b []byte) (encoding, text string) {
	if utf8.Valid(b) {
		return "utf-8", string(b)
	}
	return "base64", base64.StdEncoding.EncodeToString(b)
}

// siblingsMultipart is the multipart/mixed of a 300: a part for each sibling,
// with the headers that it would have as the only one. The boundary is drawn
// at random, so that no stored value can contain it but by chance.
func siblingsMultipart(live []object.Sibling) (body []byte, contentType string) {
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	for i := range live {
		s := &live[i]
		h := textproto.MIMEHeader{}
		h.Set("Content-Type", s.ContentType)
		h.Set("Last-Modified", httpTime(s.ModifiedMS))
		h.Set(hDot, s.Dot.String())
		setMeta(map[string][]string(h), s)
		part, err := w.CreatePart(h)
		if err == nil {
			_, err = part.Write(s.Value)
		}
		if err != nil { // a buffer takes every write
			panic(err)
		}
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return b.Bytes(), "multipart/mixed; boundary=" + w.Boundary()
}

// mustJSON encodes what holds nothing that could fail: strings, numbers,
// booleans, and structs, slices and maps of them.
func mustJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}
