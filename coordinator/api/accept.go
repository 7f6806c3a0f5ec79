package api

import (
	"strconv"
	"strings"
)

// form is how siblings are represented.
type form uint8

const (
	formNone form = iota
	formJSON
	formMultipart
)

// negotiate picks the form of siblings by Accept (RFC 9110, section 12.5.1).
// JSON is the default, and what a bare */* gets. Multipart is for a caller who
// names it, at a weight no lower than that of JSON, or who excludes JSON.
func negotiate(accept []string) form {
	if len(accept) == 0 {
		return formJSON
	}
	json := accepted{typ: "application", subtype: "json"}
	multipart := accepted{typ: "multipart", subtype: "mixed"}
	offer(accept, &json, &multipart)
	named := multipart.precision > precisionAny
	switch {
	case multipart.q > 0 && ((named && multipart.q >= json.q) || json.q == 0):
		return formMultipart
	case json.q > 0:
		return formJSON
	default:
		return formNone
	}
}

// offer weighs media types by all ranges of Accept.
func offer(accept []string, types ...*accepted) {
	for _, line := range accept {
		for item := range strings.SplitSeq(line, ",") {
			mediaRange, q, ok := parseRange(item)
			if !ok {
				continue
			}
			for _, t := range types {
				t.offer(mediaRange, q)
			}
		}
	}
}

// The more precise media range decides.
const (
	precisionNone = iota
	precisionAny  // */*
	precisionType // type/*
	precisionFull // type/subtype
)

// accepted is the weight of one media type, by the most precise range so far.
type accepted struct {
	typ, subtype string
	precision    int
	q            float64
}

func (a *accepted) offer(mediaRange string, q float64) {
	typ, subtype, _ := strings.Cut(mediaRange, "/")
	precision := precisionNone
	switch {
	case typ == "*" && subtype == "*":
		precision = precisionAny
	case strings.EqualFold(typ, a.typ) && subtype == "*":
		precision = precisionType
	case strings.EqualFold(typ, a.typ) && strings.EqualFold(subtype, a.subtype):
		precision = precisionFull
	}
	if precision > a.precision || (precision != precisionNone && precision == a.precision && q > a.q) {
		a.precision, a.q = precision, q
	}
}

// parseRange reads one item of Accept: a media range and its weight from 0 to
// 1, by default 1. Other parameters are of no account here.
func parseRange(item string) (mediaRange string, q float64, ok bool) {
	mediaRange, rest, _ := strings.Cut(item, ";")
	mediaRange = strings.TrimSpace(mediaRange)
	q = 1
	for param := range strings.SplitSeq(rest, ";") {
		name, value, _ := strings.Cut(param, "=")
		if !strings.EqualFold(strings.TrimSpace(name), "q") {
			continue
		}
		var err error
		q, err = strconv.ParseFloat(strings.TrimSpace(value), 64)
		if err != nil || !(q >= 0 && q <= 1) {
			return "", 0, false
		}
	}
	return mediaRange, q, strings.Contains(mediaRange, "/")
}
