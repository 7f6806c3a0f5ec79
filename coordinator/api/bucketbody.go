package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"slices"
	"strings"
	"time"

	"starling/config/nearest"
	"starling/coordinator"
	"starling/store/bucket"
)

// defaultLevel is the consistency of requests that name none, in a bucket without
// one.
var defaultLevel = coordinator.LevelQuorum.String()

// propertyScope is what the bounds of properties depend on.
type propertyScope struct {
	replicas int // N
}

// propertySpec is one property of the JSON of a bucket. set is not called for
// null, which is the default. Its error says what is allowed.
type propertySpec struct {
	name string
	set  func(c *propertyScope, p *bucket.Properties, value json.RawMessage) error
}

var propertySpecs = []propertySpec{
	{"conflicts", setMode},
	{"consistency", setBucketLevel},
	{"r", setCount(func(p *bucket.Properties) *uint32 { return &p.R }, func(c *propertyScope) uint64 { return uint64(c.replicas) })},
	{"w", setCount(func(p *bucket.Properties) *uint32 { return &p.W }, func(c *propertyScope) uint64 { return uint64(c.replicas) })},
	{"ttl", setBucketTTL},
	{"max_siblings", setCount(func(p *bucket.Properties) *uint32 { return &p.MaxSiblings }, func(*propertyScope) uint64 { return bucket.MaxSiblings })},
	{"max_value_bytes", setMaxValueBytes},
}

// readProperties reads the body that declares a bucket; no body is an object
// without any property. What is misspelt or repeated is refused.
func readProperties(w http.ResponseWriter, r *http.Request, replicas int) (p bucket.Properties, _ *problem) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxFieldsBytes))
	var over *http.MaxBytesError
	switch {
	case errors.As(err, &over):
		return p, badBody(fmt.Sprintf("The body has more than %d bytes.", maxFieldsBytes))
	case err != nil:
		return p, badBody(fmt.Sprintf("The body ended or stalled after %d bytes, before it was whole.", len(body)))
	case len(body) == 0:
		return p, nil
	}
	d := json.NewDecoder(bytes.NewReader(body))
	scope, given := &propertyScope{replicas: replicas}, make([]bool, len(propertySpecs))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return p, noProperties()
	}
	for d.More() {
		if problem := scope.read(d, &p, given); problem != nil {
			return p, problem
		}
	}
	if _, err := d.Token(); err != nil { // the closing brace
		return p, noProperties()
	}
	if _, err := d.Token(); err != io.EOF {
		return p, noProperties()
	}
	return p, nil
}

// read reads one property and its value.
func (c *propertyScope) read(d *json.Decoder, p *bucket.Properties, given []bool) *problem {
	t, err := d.Token()
	if err != nil {
		return noProperties()
	}
	name, _ := t.(string) // names are strings, or there is an error
	i := slices.IndexFunc(propertySpecs, func(s propertySpec) bool { return s.name == name })
	switch {
	case i < 0:
		return badBody(fmt.Sprintf("There is no property %q: the nearest is %q; allowed are %s.", clip(name), nearest.Name(strings.ToLower(clip(name)), propertyNames()), strings.Join(propertyNames(), ", ")))
	case given[i]:
		return badBody(fmt.Sprintf("The property %q is given twice.", name))
	}
	given[i] = true
	var value json.RawMessage
	if err := d.Decode(&value); err != nil {
		return noProperties()
	}
	if string(value) == "null" {
		return nil
	}
	if err := propertySpecs[i].set(c, p, value); err != nil {
		return badBody(fmt.Sprintf("%q is %s: %s.", name, clip(string(value)), err))
	}
	return nil
}

func noProperties() *problem {
	return badBody("The body must be one JSON object with properties among " + strings.Join(propertyNames(), ", ") + ", or empty.")
}

func propertyNames() []string {
	names := make([]string, len(propertySpecs))
	for i := range propertySpecs {
		names[i] = propertySpecs[i].name
	}
	return names
}

// errText is the error of a property that is a text.
var errText = errors.New("it must be a string, or null for the default")

func setMode(_ *propertyScope, p *bucket.Properties, value json.RawMessage) error {
	var text string
	if json.Unmarshal(value, &text) != nil {
		return errText
	}
	mode, err := bucket.ParseMode(text)
	if err != nil {
		return errors.New("allowed are siblings, lww, max, min, union, json-merge and counter")
	}
	p.Mode = mode
	return nil
}

func setBucketLevel(c *propertyScope, p *bucket.Properties, value json.RawMessage) error {
	var text string
	if json.Unmarshal(value, &text) != nil {
		return errText
	}
	level, err := coordinator.ParseLevel(text)
	switch {
	case err != nil || level == coordinator.LevelAny:
		return errors.New("allowed are one, two, three, quorum and all; any is for single requests")
	case level == coordinator.LevelTwo && c.replicas < 2 || level == coordinator.LevelThree && c.replicas < 3:
		return fmt.Errorf("this cluster keeps no more than %d replicas of a key", c.replicas)
	}
	p.Level = text
	return nil
}

// setCount sets a number from 1 to a bound.
func setCount(field func(*bucket.Properties) *uint32, most func(*propertyScope) uint64) func(*propertyScope, *bucket.Properties, json.RawMessage) error {
	return func(c *propertyScope, p *bucket.Properties, value json.RawMessage) error {
		n, err := wholeNumber(value, min(most(c), math.MaxUint32))
		*field(p) = uint32(n)
		return err
	}
}

func setMaxValueBytes(_ *propertyScope, p *bucket.Properties, value json.RawMessage) (err error) {
	p.MaxValueBytes, err = wholeNumber(value, bucket.MaxValueBytes)
	return err
}

func wholeNumber(value json.RawMessage, most uint64) (n uint64, err error) {
	if json.Unmarshal(value, &n) != nil || n < 1 || n > most {
		return 0, fmt.Errorf("a whole number from 1 to %d, or null for the default", most)
	}
	return n, nil
}

func setBucketTTL(_ *propertyScope, p *bucket.Properties, value json.RawMessage) error {
	var text string
	if json.Unmarshal(value, &text) != nil {
		return errText
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < bucket.MinTTL || d > maxTTL {
		return fmt.Errorf("a duration from %s to %s, such as 1h, or null for none", durationText(bucket.MinTTL), durationText(maxTTL))
	}
	p.TTL = d
	return nil
}
