package resolve

import (
	"fmt"
	"slices"

	"starling/store/bucket"
	"starling/store/object"
	"starling/store/version"
)

// folded says of each mode that merges JSON values which kind it merges, and how.
// Every join is idempotent, commutative and associative.
var folded = map[bucket.Mode]struct {
	kind kind
	name string
	join func(a, b node) node
}{
	bucket.Max:       {isNumber, "a JSON number", greater},
	bucket.Min:       {isNumber, "a JSON number", lesser},
	bucket.Union:     {isArray, "a JSON array", union},
	bucket.JSONMerge: {isObject, "a JSON object", mergeJSON},
}

func folds(m bucket.Mode) bool { return folded[m].join != nil }

// parse reads a value that fits a mode, or says with [ErrUnfit] why it does not.
func parse(m bucket.Mode, value []byte) (node, error) {
	n, err := parseJSON(value)
	if err != nil {
		return node{}, err
	}
	if n.kind != folded[m].kind {
		return node{}, fmt.Errorf("%w: mode %s takes %s", ErrUnfit, m, folded[m].name)
	}
	if m == bucket.Union {
		slices.SortFunc(n.items, compare)
		n.items = slices.CompactFunc(n.items, func(a, b node) bool { return compare(a, b) == 0 })
	}
	return n, nil
}

func greater(a, b node) node {
	if compare(a, b) >= 0 {
		return a
	}
	return b
}

func lesser(a, b node) node {
	if compare(a, b) <= 0 {
		return a
	}
	return b
}

// union is the set of what is in either of two arrays that are sorted and have
// no item twice.
func union(a, b node) node {
	return node{kind: isArray, items: merge(a.items, b.items, compare, func(x, _ node) node { return x })}
}

// mergeJSON merges objects name by name. Of two values that are not both objects
// the greater stays.
func mergeJSON(a, b node) node {
	if a.kind != isObject || b.kind != isObject {
		return greater(a, b)
	}
	return node{kind: isObject, fields: merge(a.fields, b.fields, byName, func(x, y member) member {
		return member{x.name, mergeJSON(x.value, y.value)}
	})}
}

// merge merges two sorted lists that have nothing twice, and joins what is in both.
func merge[E any](a, b []E, order func(x, y E) int, join func(x, y E) E) []E {
	out := make([]E, 0, max(len(a), len(b)))
	for len(a) > 0 && len(b) > 0 {
		switch c := order(a[0], b[0]); {
		case c < 0:
			out, a = append(out, a[0]), a[1:]
		case c > 0:
			out, b = append(out, b[0]), b[1:]
		default:
			out, a, b = append(out, join(a[0], b[0])), a[1:], b[1:]
		}
	}
	return append(append(out, a...), b...)
}

// readFold is [Read] in a mode that merges JSON values. Every stamping of a put
// takes part, for each may have had other values folded into it.
func readFold(m bucket.Mode, o object.Object, nowMS int64) View {
	var value node
	var shown object.Sibling
	var unfit []object.Sibling
	fit := 0
	for _, s := range living(o.Siblings, nowMS) {
		n, err := parse(m, s.Value)
		switch {
		case err != nil:
			unfit = append(unfit, s)
			continue
		case fit == 0:
			value, shown = n, s
		default:
			value, shown = folded[m].join(value, n), newer(shown, s)
		}
		fit++
	}
	unfit = distinct(unfit)
	if fit == 0 {
		return View{Live: unfit}
	}
	shown.Value = value.append(nil)
	return View{Live: append([]object.Sibling{shown}, unfit...)}
}

// putFold is [Put] of a value in a mode that merges JSON values. The siblings
// that fit and that c does not cover are folded into s, and with those that are
// dead superseded; those that do not fit stay. The value stays as it was written
// if the others add nothing to it.
func putFold(m bucket.Mode, o object.Object, c version.Context, s object.Sibling, nowMS int64) (version.Context, object.Sibling, error) {
	own, err := parse(m, s.Value)
	if err != nil {
		return version.Context{}, object.Sibling{}, err
	}
	value := own
	var kept []version.Dot
	for i := range o.Siblings {
		t := &o.Siblings[i]
		if c.Covers(t.Dot) || dead(t, nowMS) {
			continue
		}
		n, err := parse(m, t.Value)
		if err != nil {
			kept = append(kept, t.Dot)
			continue
		}
		value = folded[m].join(value, n)
		s.ExpiresMS = laterExpiry(s.ExpiresMS, t.ExpiresMS)
	}
	if compare(value, own) != 0 {
		if value.size() > MaxElements {
			return version.Context{}, object.Sibling{}, tooMany()
		}
		s.Value = value.append(nil)
	}
	return superseding(o, c, kept), s, nil
}
