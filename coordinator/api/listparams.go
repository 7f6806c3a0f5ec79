package api

import (
	"fmt"
	"strconv"
	"strings"
)

const (
	// defaultListLimit is how many keys a page has where the caller does not say.
	defaultListLimit = 100
	// maxStreamLimit bounds the keys of a stream of lines, which has all of them
	// where the caller does not say.
	maxStreamLimit = 1_000_000_000
)

// listParams are the query parameters that listings alone have.
type listParams struct {
	prefix, after string
	// limit is the most keys; 0: all.
	limit  int
	values bool
}

// listScope is what the bounds of the parameters depend on.
type listScope struct {
	paramScope
	maxLimit int
	// common are the parameters that other requests have too.
	common *params
}

// listSpecs are the parameters: those that a read of a key has too, of which
// fallbacks are no part, and those of listings alone.
var listSpecs = []struct {
	name string
	set  func(c *listScope, p *listParams, value string) error
}{
	{"prefix", func(_ *listScope, p *listParams, value string) error { return setListKey(&p.prefix, value) }},
	{"after", func(_ *listScope, p *listParams, value string) error { return setListKey(&p.after, value) }},
	{"limit", setLimit},
	{"values", setValues},
	{"consistency", setCommon(setConsistency)},
	{"r", setCommon(setReplicas(func(p *params) *int { return &p.consistency.R }))},
	{"timeout", setCommon(setTimeout)},
}

// setCommon sets a parameter that other requests have too.
func setCommon(set func(*paramScope, *params, string) error) func(*listScope, *listParams, string) error {
	return func(c *listScope, _ *listParams, value string) error { return set(&c.paramScope, c.common, value) }
}

// parse reads a query; common and p hold the defaults.
func (c *listScope) parse(query string, p *listParams) *problem {
	seen := 0
	for pair := range strings.SplitSeq(query, "&") {
		if pair == "" {
			continue
		}
		name, value, problem := splitPair(pair)
		if problem != nil {
			return problem
		}
		i := findListSpec(name)
		if i < 0 {
			return badParameter(name, fmt.Sprintf("There is no parameter %q here: keys are listed by %s.", name, listSpecNames()))
		}
		if seen&(1<<i) != 0 {
			return badParameter(name, fmt.Sprintf("The parameter %q is given twice.", name))
		}
		seen |= 1 << i
		if err := listSpecs[i].set(c, p, value); err != nil {
			return badParameter(name, fmt.Sprintf("%s=%q: %s.", name, clip(value), err))
		}
	}
	return nil
}

func findListSpec(name string) int {
	for i := range listSpecs {
		if listSpecs[i].name == name {
			return i
		}
	}
	return -1
}

func listSpecNames() string {
	names := make([]string, len(listSpecs))
	for i := range listSpecs {
		names[i] = listSpecs[i].name
	}
	return strings.Join(names, ", ")
}

// setListKey takes any bytes that a key may begin with, or be.
func setListKey(field *string, value string) error {
	if len(value) > maxKeyBytes {
		return fmt.Errorf("it has %d bytes after percent-decoding, and a key has %d at most", len(value), maxKeyBytes)
	}
	*field = value
	return nil
}

func setLimit(c *listScope, p *listParams, value string) error {
	n, err := strconv.Atoi(value)
	if err != nil || n < 1 || n > c.maxLimit || value[0] == '+' {
		return fmt.Errorf("a whole number from 1 to %d", c.maxLimit)
	}
	p.limit = n
	return nil
}

func setValues(_ *listScope, p *listParams, value string) error {
	if value != "true" && value != "false" {
		return fmt.Errorf("allowed are true and false")
	}
	p.values = value == "true"
	return nil
}
