package api

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"starling/coordinator"
	"starling/store/bucket"
)

// Bounds of the durations that a request may give.
const (
	minTimeout = time.Millisecond
	minTTL     = time.Millisecond
	maxTTL     = 10 * 365 * 24 * time.Hour
)

// params are the query parameters of a key request.
type params struct {
	consistency coordinator.Consistency
	timeout     time.Duration
	ttl         time.Duration // 0: never expires
	// previous: the values that lost are wanted, not the one that won.
	previous bool
	// numbers: r, w, pr or pw was given.
	numbers bool
}

// label is the consistency label of the metrics for a request that goes by a
// level, its own or its bucket's, where it gave no numbers.
func (p *params) label(level coordinator.Level) int {
	switch {
	case p.numbers:
		return labelNumbers
	case level == coordinator.LevelDefault:
		return int(coordinator.LevelQuorum)
	default:
		return int(level)
	}
}

// paramSpec is one query parameter: which operations take it, and how its
// value is read. The error says what is allowed.
type paramSpec struct {
	name string
	ops  [ops]bool
	set  func(c *paramScope, p *params, value string) error
}

// paramScope is what the bounds of the parameters depend on.
type paramScope struct {
	op op
	// replicas is N; maxTimeout the longest timeout.
	replicas   int
	maxTimeout time.Duration
	// mode is that of the bucket.
	mode bucket.Mode
	// readsFirst: a DELETE without a context, which reads before it writes.
	readsFirst bool
}

var (
	everyOp  = [ops]bool{opGet: true, opHead: true, opPut: true, opDelete: true, opAdd: true, opBatch: true}
	readOps  = [ops]bool{opGet: true, opHead: true, opDelete: true, opBatch: true}
	writeOps = [ops]bool{opPut: true, opDelete: true, opAdd: true, opBatch: true}
	putOp    = [ops]bool{opPut: true}
	ttlOps   = [ops]bool{opPut: true, opAdd: true}
	getOps   = [ops]bool{opGet: true, opHead: true}
	addOp    = [ops]bool{opAdd: true}
	// contextOps are those of a batch that take a context.
	contextOps = [ops]bool{opGet: true, opPut: true, opDelete: true}
)

var paramSpecs = []paramSpec{
	{"consistency", everyOp, setConsistency},
	{"r", readOps, setReplicas(func(p *params) *int { return &p.consistency.R })},
	{"pr", readOps, setReplicas(func(p *params) *int { return &p.consistency.PR })},
	{"w", writeOps, setReplicas(func(p *params) *int { return &p.consistency.W })},
	{"pw", writeOps, setReplicas(func(p *params) *int { return &p.consistency.PW })},
	{"sloppy", everyOp, setSloppy},
	{"timeout", everyOp, setTimeout},
	{"ttl", ttlOps, setTTL},
	{"previous", getOps, setPrevious},
	{"conflicts", everyOp, setConflicts},
}

// parse reads the query of a key request into p, which holds the defaults.
func (scope *paramScope) parse(query string, p *params) *problem {
	seen := 0
	for query != "" {
		var pair string
		pair, query, _ = strings.Cut(query, "&")
		if pair == "" {
			continue
		}
		name, value, problem := splitPair(pair)
		if problem != nil {
			return problem
		}
		i := scope.find(name)
		if i < 0 {
			return badParameter(name, fmt.Sprintf("There is no parameter %q here: %s takes %s.", name, scope.op.method(), scope.allowed()))
		}
		if seen&(1<<i) != 0 {
			return badParameter(name, fmt.Sprintf("The parameter %q is given twice.", name))
		}
		seen |= 1 << i
		if err := paramSpecs[i].set(scope, p, value); err != nil {
			return badParameter(name, fmt.Sprintf("%s=%q: %s.", name, clip(value), err))
		}
	}
	if scope.readsFirst && p.consistency.Level == coordinator.LevelAny && p.consistency.R == 0 {
		// Nothing can be read from a hint alone, so the read that finds what
		// is to be deleted needs one replica.
		p.consistency.R = 1
	}
	return nil
}

// splitPair cuts name=value and decodes both.
func splitPair(pair string) (name, value string, _ *problem) {
	name, value, _ = strings.Cut(pair, "=")
	if !strings.ContainsAny(pair, "%+;") {
		return clip(name), value, nil
	}
	decodedName, err := url.QueryUnescape(name)
	if err != nil || strings.Contains(pair, ";") {
		return "", "", badParameter(clip(name), fmt.Sprintf("The query part %q is malformed: parameters are name=value, joined by &, percent-encoded.", clip(pair)))
	}
	value, err = url.QueryUnescape(value)
	if err != nil {
		return "", "", badParameter(clip(decodedName), fmt.Sprintf("The value of %q is not percent-encoded correctly.", clip(decodedName)))
	}
	return clip(decodedName), value, nil
}

// clip bounds what an answer repeats of a request.
func clip(s string) string {
	if len(s) > 64 {
		return s[:64] + "…"
	}
	return s
}

func (c *paramScope) takes(spec *paramSpec) bool {
	if (spec.name == "r" || spec.name == "pr") && c.op == opDelete && !c.readsFirst {
		return false
	}
	return spec.ops[c.op]
}

func (c *paramScope) find(name string) int {
	for i := range paramSpecs {
		if paramSpecs[i].name == name && c.takes(&paramSpecs[i]) {
			return i
		}
	}
	return -1
}

func (c *paramScope) allowed() string {
	var names []string
	for i := range paramSpecs {
		if c.takes(&paramSpecs[i]) {
			names = append(names, paramSpecs[i].name)
		}
	}
	return strings.Join(names, ", ")
}

// method describes the operation in messages.
func (o op) method() string {
	if o == opAdd {
		return "an increment"
	}
	return "a " + strings.ToUpper(o.String())
}

func setConsistency(c *paramScope, p *params, value string) error {
	level, err := coordinator.ParseLevel(value)
	if err != nil {
		return fmt.Errorf("allowed are one, two, three, quorum, all and, for writes, any")
	}
	if level == coordinator.LevelAny && !c.op.write() {
		return fmt.Errorf("any is for writes; a read takes one, two, three, quorum or all")
	}
	if (level == coordinator.LevelTwo && c.replicas < 2) || (level == coordinator.LevelThree && c.replicas < 3) {
		return fmt.Errorf("this cluster keeps no more than %d replicas of a key", c.replicas)
	}
	p.consistency.Level = level
	return nil
}

func setReplicas(field func(*params) *int) func(*paramScope, *params, string) error {
	return func(c *paramScope, p *params, value string) error {
		if len(value) != 1 || value[0] < '1' || int(value[0]-'0') > c.replicas {
			return fmt.Errorf("a whole number from 1 to %d, the replicas of a key", c.replicas)
		}
		*field(p) = int(value[0] - '0')
		p.numbers = true
		return nil
	}
}

func setSloppy(_ *paramScope, p *params, value string) error {
	if value != "true" && value != "false" {
		return fmt.Errorf("allowed are true and false")
	}
	p.consistency.Strict = value == "false"
	return nil
}

func setPrevious(_ *paramScope, p *params, value string) error {
	if value != "true" && value != "false" {
		return fmt.Errorf("allowed are true and false")
	}
	p.previous = value == "true"
	return nil
}

func setTimeout(c *paramScope, p *params, value string) error {
	d, err := time.ParseDuration(value)
	if err != nil || d < minTimeout || d > c.maxTimeout {
		return fmt.Errorf("a duration from %s to %s, such as 750ms", minTimeout, c.maxTimeout)
	}
	p.timeout = d
	return nil
}

func setTTL(_ *paramScope, p *params, value string) error {
	d, err := time.ParseDuration(value)
	if err != nil || d < minTTL || d > maxTTL {
		return fmt.Errorf("a duration from %s to %s, such as 1h", minTTL, maxTTL)
	}
	p.ttl = d
	return nil
}

// setConflicts takes the bucket's own mode, by which a caller makes sure of it.
func setConflicts(c *paramScope, _ *params, value string) error {
	m, err := bucket.ParseMode(value)
	switch {
	case err != nil:
		return fmt.Errorf("allowed is what the bucket has, %s", c.mode)
	case m != c.mode:
		return fmt.Errorf("the bucket has conflicts=%s", c.mode)
	}
	return nil
}

// onlyParams refuses what is no parameter of a resource, and, unless repeats
// are allowed, a repeated one.
func onlyParams(query string, known []string, repeats bool) *problem {
	var seen []string
	for query != "" {
		var pair string
		pair, query, _ = strings.Cut(query, "&")
		if pair == "" {
			continue
		}
		name, _, p := splitPair(pair)
		switch {
		case p != nil:
			return p
		case slices.Contains(seen, name):
			return badParameter(name, fmt.Sprintf("The parameter %q is given twice.", name))
		case len(known) == 0:
			return badParameter(name, fmt.Sprintf("There is no parameter %q here: this resource takes none.", name))
		case !slices.Contains(known, name):
			return badParameter(name, fmt.Sprintf("There is no parameter %q here: this resource takes %s.", name, strings.Join(known, ", ")))
		}
		if !repeats {
			seen = append(seen, name)
		}
	}
	return nil
}
