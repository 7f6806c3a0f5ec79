package resolve

import (
	"fmt"
	"slices"
	"time"

	"starling/store/object"
	"starling/store/version"
)

// Bounds of mode lww.
const (
	// MaxPrevious is how many values that lost are kept.
	MaxPrevious = 3
	// PreviousFor is how long they are kept after they lost.
	PreviousFor = 10 * time.Minute
	// MaxAheadMS is how far ahead of a coordinator's clock a stamp may be.
	MaxAheadMS = 24 * 60 * 60 * 1000
)

// readNewest is [Read] in mode lww. The winner is the sibling with the greatest
// stamp, of equal ones that with the greater dot.
func readNewest(o object.Object, nowMS int64) View {
	if len(o.Siblings) == 0 {
		return View{}
	}
	order := o.Siblings
	if len(order) > 1 {
		order = newestFirst(slices.Clone(order))
	}
	view := View{Previous: lost(order, nowMS)}
	if !dead(&order[0], nowMS) {
		view.Live = order[:1:1]
	}
	return view
}

// newestFirst sorts siblings in place.
func newestFirst(siblings []object.Sibling) []object.Sibling {
	slices.SortFunc(siblings, func(s, t object.Sibling) int { return byAge(&t, &s) })
	return siblings
}

// lost is what lost against the first of some siblings, newest first, as far as
// it is kept. Each lost when the next newer one was written.
func lost(order []object.Sibling, nowMS int64) []object.Sibling {
	var out []object.Sibling
	for i := 1; i < len(order); i++ {
		s := &order[i]
		if len(out) == MaxPrevious || nowMS-order[i-1].ModifiedMS >= PreviousFor.Milliseconds() {
			break
		}
		if !dead(s, nowMS) && !restamps(&order[0], s) && !restampsAny(out, s) {
			out = append(out, *s)
		}
	}
	return out
}

// putNewest is [Put] in mode lww. A sibling that is neither covered by c nor
// kept as a previous value is superseded.
func putNewest(o object.Object, c version.Context, s object.Sibling, nowMS int64) (version.Context, object.Sibling, error) {
	stampMS, err := nextStamp(o, c, nowMS)
	if err != nil {
		return version.Context{}, object.Sibling{}, err
	}
	s.ModifiedMS = stampMS
	order := []object.Sibling{s}
	for i := range o.Siblings {
		if t := &o.Siblings[i]; !c.Covers(t.Dot) {
			order = append(order, *t)
		}
	}
	newestFirst(order[1:])
	var kept []version.Dot
	for _, t := range lost(order, nowMS) {
		kept = append(kept, t.Dot)
	}
	return superseding(o, c, kept), s, nil
}

// nextStamp is the stamp of a put: later than every stamp in o. Where that would
// be too far ahead, stamps that the writer has seen do not count, for what bears
// them is superseded whatever its stamp: so a key can be freed from a stamp of a
// clock that was wrong.
func nextStamp(o object.Object, c version.Context, nowMS int64) (int64, error) {
	newest, newestUnseen := nowMS-1, nowMS-1
	for i := range o.Siblings {
		s := &o.Siblings[i]
		newest = max(newest, s.ModifiedMS)
		if !c.Covers(s.Dot) {
			newestUnseen = max(newestUnseen, s.ModifiedMS)
		}
	}
	switch {
	case newest < nowMS+MaxAheadMS:
		return newest + 1, nil
	case newestUnseen < nowMS+MaxAheadMS:
		return newestUnseen + 1, nil
	}
	return 0, fmt.Errorf("%w: the newest value is stamped %v ahead, at most %v", ErrFuture,
		time.UnixMilli(newestUnseen).Sub(time.UnixMilli(nowMS)), time.Duration(MaxAheadMS)*time.Millisecond)
}
