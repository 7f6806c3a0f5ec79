package resolve

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Bounds of JSON values.
const (
	// MaxDepth is how deeply arrays and objects may be nested.
	MaxDepth = 64
	// MaxElements is how many values, with all those inside them, a value may hold.
	MaxElements = 100_000
)

// kind is the kind of a JSON value. Values of different kinds are in the order of
// their kinds. That objects are above all others keeps the merge of objects
// associative.
type kind uint8

const (
	isNull kind = iota
	isFalse
	isTrue
	isNumber
	isString
	isArray
	isObject
)

// node is a JSON value. It is never changed once it was made.
type node struct {
	kind   kind
	number decimal
	text   string   // of a string
	items  []node   // of an array
	fields []member // of an object, sorted by name, each name once
}

type member struct {
	name  string
	value node
}

// parseJSON reads one JSON value. Beyond what is not JSON it refuses, with
// [ErrUnfit], what replicas could read differently or what is out of bounds:
// names that occur twice in an object, text that is not UTF-8, too much depth or
// too many values, numbers too long.
func parseJSON(value []byte) (node, error) {
	switch {
	case !utf8.Valid(value):
		return node{}, fmt.Errorf("%w: text that is not UTF-8", ErrUnfit)
	case !json.Valid(value):
		return node{}, fmt.Errorf("%w: not JSON", ErrUnfit)
	case loneSurrogate(value):
		return node{}, fmt.Errorf("%w: half of a surrogate pair", ErrUnfit)
	}
	p := parser{tokens: json.NewDecoder(bytes.NewReader(value))}
	p.tokens.UseNumber()
	return p.value(0)
}

// loneSurrogate finds escapes in valid JSON that are half a character, which a
// decoder would take all for the same one.
func loneSurrogate(b []byte) bool {
	unit := func(i int) uint64 {
		if i+6 > len(b) || b[i] != '\\' || b[i+1] != 'u' {
			return 0
		}
		u, _ := strconv.ParseUint(string(b[i+2:i+6]), 16, 16) // valid JSON has digits there
		return u
	}
	for i := 0; i < len(b); i++ {
		if b[i] != '\\' {
			continue
		}
		switch u := unit(i); {
		case 0xd800 <= u && u < 0xdc00 && unit(i+6)>>10 == 0xdc00>>10:
			i += 11
		case 0xd800 <= u && u < 0xe000:
			return true
		default:
			i++ // what is escaped may be a backslash
		}
	}
	return false
}

// parser makes a node of the tokens of valid JSON.
type parser struct {
	tokens *json.Decoder
	seen   int // values so far
}

func (p *parser) value(depth int) (node, error) {
	token, err := p.tokens.Token()
	if err != nil {
		return node{}, fmt.Errorf("%w: %w", ErrUnfit, err)
	}
	if p.seen++; p.seen > MaxElements {
		return node{}, tooMany()
	}
	switch token := token.(type) {
	case nil:
		return node{kind: isNull}, nil
	case bool:
		if token {
			return node{kind: isTrue}, nil
		}
		return node{kind: isFalse}, nil
	case json.Number:
		d, err := parseDecimal(string(token))
		return node{kind: isNumber, number: d}, err
	case string:
		return node{kind: isString, text: token}, nil
	}
	if depth == MaxDepth {
		return node{}, fmt.Errorf("%w: nested deeper than %d", ErrUnfit, MaxDepth)
	}
	if token == json.Delim('[') {
		return p.array(depth + 1)
	}
	return p.object(depth + 1)
}

func tooMany() error { return fmt.Errorf("%w: more than %d values in one", ErrUnfit, MaxElements) }

func (p *parser) array(depth int) (node, error) {
	n := node{kind: isArray}
	for p.tokens.More() {
		item, err := p.value(depth)
		if err != nil {
			return node{}, err
		}
		n.items = append(n.items, item)
	}
	return n, p.end()
}

func (p *parser) object(depth int) (node, error) {
	n := node{kind: isObject}
	for p.tokens.More() {
		name, err := p.tokens.Token()
		if err != nil {
			return node{}, fmt.Errorf("%w: %w", ErrUnfit, err)
		}
		value, err := p.value(depth)
		if err != nil {
			return node{}, err
		}
		n.fields = append(n.fields, member{name.(string), value})
	}
	slices.SortFunc(n.fields, byName)
	for i := 1; i < len(n.fields); i++ {
		if n.fields[i-1].name == n.fields[i].name {
			return node{}, fmt.Errorf("%w: name %.64q twice in an object", ErrUnfit, n.fields[i].name)
		}
	}
	return n, p.end()
}

// end takes the bracket that closes an array or object.
func (p *parser) end() error {
	if _, err := p.tokens.Token(); err != nil && err != io.EOF {
		return fmt.Errorf("%w: %w", ErrUnfit, err)
	}
	return nil
}

func byName(a, b member) int { return strings.Compare(a.name, b.name) }

// compare is a total order: values of different kinds by kind, numbers by value,
// strings by their bytes, arrays item by item, objects name by name. Values that
// are equal under it have the same text.
func compare(a, b node) int {
	if a.kind != b.kind {
		return int(a.kind) - int(b.kind)
	}
	switch a.kind {
	case isNumber:
		return a.number.compare(b.number)
	case isString:
		return strings.Compare(a.text, b.text)
	case isArray:
		return slices.CompareFunc(a.items, b.items, compare)
	case isObject:
		return slices.CompareFunc(a.fields, b.fields, func(a, b member) int {
			if c := byName(a, b); c != 0 {
				return c
			}
			return compare(a.value, b.value)
		})
	}
	return 0
}

// size is how many values n holds, itself included.
func (n node) size() int {
	size := 1
	for _, item := range n.items {
		size += item.size()
	}
	for _, f := range n.fields {
		size += f.value.size()
	}
	return size
}

// append appends the one JSON text that stands for n: no space, names sorted,
// and only those characters escaped that have to be.
func (n node) append(dst []byte) []byte {
	switch n.kind {
	case isNull:
		return append(dst, "null"...)
	case isFalse:
		return append(dst, "false"...)
	case isTrue:
		return append(dst, "true"...)
	case isNumber:
		return n.number.append(dst)
	case isString:
		return appendString(dst, n.text)
	case isArray:
		dst = append(dst, '[')
		for i, item := range n.items {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = item.append(dst)
		}
		return append(dst, ']')
	}
	dst = append(dst, '{')
	for i, f := range n.fields {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = f.value.append(append(appendString(dst, f.name), ':'))
	}
	return append(dst, '}')
}

func appendString(dst []byte, s string) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c < ' ':
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		default:
			dst = append(dst, c)
		}
	}
	return append(dst, '"')
}
