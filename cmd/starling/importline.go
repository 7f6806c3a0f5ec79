package main

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
	"unicode/utf8"

	"starling/client"
)

const (
	// maxLineBytes bounds a line of an import: a value of 16 MiB in base64.
	maxLineBytes = 24 << 20
	maxKeyBytes  = 1024
)

// recordDoc is the JSON of a line that is imported or exported: one of key and
// key_base64, one of value and value_base64.
type recordDoc struct {
	Key         *string           `json:"key,omitempty"`
	KeyBase64   *string           `json:"key_base64,omitempty"`
	Value       *string           `json:"value,omitempty"`
	ValueBase64 *string           `json:"value_base64,omitempty"`
	ContentType string            `json:"content_type,omitempty"`
	Meta        map[string]string `json:"meta,omitempty"`
	// TTL is how long the value lives from when it is written.
	TTL string `json:"ttl,omitempty"`
}

// defaultContentType is left out of lines.
const defaultContentType = "application/octet-stream"

// parseRecord reads a line.
func parseRecord(line []byte) (op client.Op, err error) {
	if !utf8.Valid(line) {
		return op, errors.New("it is not UTF-8: give such keys and values as key_base64 and value_base64")
	}
	var doc recordDoc
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	if err := d.Decode(&doc); err != nil {
		return op, err
	}
	if _, err := d.Token(); err != io.EOF {
		return op, errors.New("something follows the object")
	}
	key, err := eitherOf("key", doc.Key, doc.KeyBase64)
	if err == nil && (len(key) == 0 || len(key) > maxKeyBytes) {
		err = fmt.Errorf("the key has %d bytes; 1 to %d are allowed", len(key), maxKeyBytes)
	}
	if err != nil {
		return op, err
	}
	op = client.Op{Kind: client.OpPut, Key: string(key), ContentType: doc.ContentType, Meta: doc.Meta}
	if op.Data, err = eitherOf("value", doc.Value, doc.ValueBase64); err != nil || doc.TTL == "" {
		return op, err
	}
	op.TTL, err = time.ParseDuration(doc.TTL)
	if err == nil && op.TTL <= 0 {
		err = fmt.Errorf("ttl %q: it must be positive", doc.TTL)
	}
	return op, err
}

// eitherOf is a field that is given as text or in base64.
func eitherOf(name string, text, encoded *string) ([]byte, error) {
	switch {
	case text != nil && encoded == nil:
		return []byte(*text), nil
	case text == nil && encoded != nil:
		return base64.StdEncoding.DecodeString(*encoded)
	default:
		return nil, fmt.Errorf("one of %s and %s_base64 is to be given", name, name)
	}
}

// eitherText is the inverse of eitherOf.
func eitherText(b []byte) (text, encoded *string) {
	encoding, s := encodeText(b)
	if encoding == "utf-8" {
		return &s, nil
	}
	return nil, &s
}

// lineReader gives the lines of an input, and knows where it is.
type lineReader struct {
	r      *bufio.Reader
	offset int64 // behind the last line
	lines  int64 // so far
}

func newLineReader(r io.Reader, offset, lines int64) *lineReader {
	return &lineReader{r: bufio.NewReaderSize(r, 256<<10), offset: offset, lines: lines}
}

// next is the next line that is not blank, without its end; io.EOF behind the
// last. The line is the caller's.
func (l *lineReader) next() ([]byte, error) {
	for {
		line, err := l.raw()
		if len(line) > 0 {
			l.lines++
		}
		if trimmed := bytes.TrimSpace(line); len(trimmed) > 0 {
			return trimmed, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// raw is the next line with its end, which the last one may lack.
func (l *lineReader) raw() (line []byte, err error) {
	for {
		part, err := l.r.ReadSlice('\n')
		line = append(line, part...)
		l.offset += int64(len(part))
		if !errors.Is(err, bufio.ErrBufferFull) {
			return line, err
		}
		if len(line) > maxLineBytes {
			return nil, fmt.Errorf("line %d has more than %d bytes", l.lines+1, maxLineBytes)
		}
	}
}
