package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
)

// maxFieldsBytes bounds a body that says what to do.
const maxFieldsBytes = 4 << 10

// readFields reads a body that is a JSON object of some of these fields, each
// a *string, a *bool or a *[boundedField], and says which are given; no body is
// an object without any. What is misspelt, repeated or null is refused: whoever
// asks for a change must not be misunderstood.
func readFields(w http.ResponseWriter, r *http.Request, fields map[string]any) (given map[string]bool, p *problem) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxFieldsBytes))
	var over *http.MaxBytesError
	switch {
	case errors.As(err, &over):
		return nil, badBody(fmt.Sprintf("The body has more than %d bytes.", maxFieldsBytes))
	case err != nil:
		return nil, badBody(fmt.Sprintf("The body ended or stalled after %d bytes, before it was whole.", len(body)))
	}
	given = make(map[string]bool)
	if len(body) == 0 {
		return given, nil
	}
	d := json.NewDecoder(bytes.NewReader(body))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, noObject(fields)
	}
	for d.More() {
		if p := readField(d, fields, given); p != nil {
			return nil, p
		}
	}
	if _, err := d.Token(); err != nil { // the closing brace
		return nil, noObject(fields)
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, noObject(fields)
	}
	return given, nil
}

// readField reads one name and its value.
func readField(d *json.Decoder, fields map[string]any, given map[string]bool) *problem {
	t, err := d.Token()
	if err != nil {
		return noObject(fields)
	}
	name, _ := t.(string) // names are strings, or there is an error
	into, known := fields[name]
	switch {
	case !known:
		return badBody(fmt.Sprintf("There is no field %q here: allowed are %s.", clip(name), names(fields)))
	case given[name]:
		return badBody(fmt.Sprintf("The field %q is given twice.", name))
	}
	given[name] = true
	var value json.RawMessage
	if err := d.Decode(&value); err != nil {
		return noObject(fields)
	}
	if string(value) != "null" && json.Unmarshal(value, into) == nil {
		return nil
	}
	wanted := "a string"
	switch field := into.(type) {
	case *bool:
		wanted = "true or false"
	case *boundedField:
		wanted = field.allowed
	}
	return badBody(fmt.Sprintf("%q is %s: it must be %s.", name, clip(string(value)), wanted))
}

// boundedField is a field that is a whole number of a range.
type boundedField struct {
	value   int64 // the default until it is read
	allowed string
	within  func(n int64) bool
}

// UnmarshalJSON implements [json.Unmarshaler].
func (f *boundedField) UnmarshalJSON(b []byte) error {
	if err := json.Unmarshal(b, &f.value); err != nil {
		return err
	}
	if !f.within(f.value) {
		return errors.New("api: out of bounds")
	}
	return nil
}

func noObject(fields map[string]any) *problem {
	return badBody("The body must be one JSON object with fields among " + names(fields) + ", or empty.")
}

func names(fields map[string]any) string {
	return strings.Join(slices.Sorted(maps.Keys(fields)), ", ")
}

func badBody(detail string) *problem {
	return &problem{kind: &kindBody, detail: detail + " Nothing changed."}
}
