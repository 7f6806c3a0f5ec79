package resolve

import (
	"fmt"
	"math"

	"starling/store/object"
	"starling/store/version"
)

// MaxRecent is how many operations a counter remembers by their IDs.
const MaxRecent = 8192

// countType is the content type of a counter, which reads as a JSON number.
const countType = "application/json"

// readCount is [Read] in mode counter: the count in decimal digits, exact even
// beyond 64 bits.
func readCount(o object.Object, nowMS int64) View {
	t, newest, others, ok := tallyOf(o, nowMS)
	others = distinct(others)
	if !ok {
		return View{Live: others}
	}
	newest.Value = t.count().append(nil)
	return View{Live: append([]object.Sibling{newest}, others...)}
}

// Count is the value of a counter at nowMS, Unix milliseconds. ok is false if
// there is none, or if it has left the 64-bit integers.
func Count(o object.Object, nowMS int64) (n int64, ok bool) {
	t, _, _, found := tallyOf(o, nowMS)
	n, ok = t.count().int64()
	return n, ok && found
}

// Add is what an increment by delta becomes at a replica that holds o: the
// context to update o with, and the sibling to store. op is counted once among
// all that o knows: if it knows op already, the sibling adds nothing. The zero op
// counts each time, and is not remembered. The sibling bears dot, op and nowMS,
// Unix milliseconds; it lives for ever unless the caller sets an expiry.
//
// The errors are [ErrBusy], if there is no room for another operation, and
// [ErrRange].
func Add(o object.Object, dot version.Dot, op object.OpID, delta int64, nowMS int64) (version.Context, object.Sibling, error) {
	t, _, others, _ := tallyOf(o, nowMS)
	if op.IsZero() || !t.knows(tagOf(op)) {
		var err error
		if t, err = t.plus(dot, increment{op: tagOf(op), delta: delta, atMS: nowMS}); err != nil {
			return version.Context{}, object.Sibling{}, err
		}
	}
	var kept []version.Dot
	for i := range others {
		kept = append(kept, others[i].Dot)
	}
	s := object.Sibling{Dot: dot, Op: op, ModifiedMS: nowMS, ContentType: countType, Value: t.append(make([]byte, 0, t.size()))}
	return superseding(o, version.Context{}, kept), s, nil
}

// plus is t with an increment by the actor of a new dot.
func (t tally) plus(dot version.Dot, inc increment) (tally, error) {
	own, others := t.own(dot)
	own.seq = dot.Seq
	switch direct, ok := addInt64(own.direct, inc.delta); {
	case inc.op != 0:
		if n := t.remembered(); n >= MaxRecent {
			return nil, fmt.Errorf("%w: %d, at most %d", ErrBusy, n, MaxRecent)
		}
		own.recent = append(own.recent[:len(own.recent):len(own.recent)], inc)
	case !ok:
		return nil, fmt.Errorf("%w: %d and %d more at one replica", ErrRange, own.direct, inc.delta)
	default:
		own.direct = direct
	}
	next := mergeTallies(others, tally{own})
	if _, ok := next.count().int64(); !ok {
		return nil, fmt.Errorf("%w: it would be %s", ErrRange, next.count().append(nil))
	}
	return next, nil
}

// addInt64 is a + b, if 64 bits hold it.
func addInt64(a, b int64) (int64, bool) {
	if b > 0 && a > math.MaxInt64-b || b < 0 && a < math.MinInt64-b {
		return 0, false
	}
	return a + b, true
}
