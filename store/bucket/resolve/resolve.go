package resolve

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"starling/store/bucket"
	"starling/store/object"
	"starling/store/version"
)

// Errors of this package. They are wrapped with what led to them; after one
// nothing is to be stored.
var (
	// ErrUnfit: the value is not of the kind that the bucket's mode merges.
	ErrUnfit = errors.New("resolve: value does not fit the bucket's mode")
	// ErrFuture: the key holds a value stamped more than [MaxAheadMS] ahead of
	// the clock. A put whose context covers that value goes through.
	ErrFuture = errors.New("resolve: stamp too far in the future")
	// ErrRange: the count, or the part of it that this actor keeps, would leave
	// the 64-bit integers.
	ErrRange = errors.New("resolve: counter out of range")
	// ErrBusy: the counter remembers [MaxRecent] operations, none of which may be
	// forgotten yet. Compact, or try again later.
	ErrBusy = errors.New("resolve: counter remembers too many operations")
)

// View is what a reader of a key sees.
type View struct {
	// Live is empty for an absent key, has one value for a present one, and
	// several where the reader has to resolve them: in mode siblings, and where
	// values do not fit the mode. The value that the mode made of those that fit
	// comes first; it bears the dot, operation, times and metadata of the newest
	// of them, and the latest expiry of any.
	Live []object.Sibling
	// Previous, in mode lww alone, is what lost against the newest value, newest
	// first: [MaxPrevious] at most, each for [PreviousFor] after the write that
	// won over it. The newest itself need not be live.
	Previous []object.Sibling
}

// Read is what a reader in mode m sees of o at nowMS, Unix milliseconds. It
// depends on nothing else. The result may share memory with o.
func Read(m bucket.Mode, o object.Object, nowMS int64) View {
	switch {
	case m == bucket.LWW:
		return readNewest(o, nowMS)
	case m == bucket.Counter:
		return readCount(o, nowMS)
	case folds(m):
		return readFold(m, o, nowMS)
	}
	return View{Live: distinct(living(o.Siblings, nowMS))}
}

// Check is nil if a value may be put in mode m, and otherwise [ErrUnfit],
// wrapped with why. No value may be put into a counter.
func Check(m bucket.Mode, value []byte) error {
	switch {
	case m == bucket.Counter:
		return fmt.Errorf("%w: a counter takes increments, and deletes that reset it", ErrUnfit)
	case folds(m):
		_, err := parse(m, value)
		return err
	}
	return nil
}

// Put is what a put of s, a value or a tombstone, by a client that has seen c
// becomes at a replica that holds o: the context to update o with, and the
// sibling to store, with the dot of s and memory of its own or of s. The errors
// are [ErrUnfit] and [ErrFuture].
//
// The sibling may hold more than was put: the caller holds its size against the
// bucket's bound, and answers the client with [Reply].
func Put(m bucket.Mode, o object.Object, c version.Context, s object.Sibling, nowMS int64) (version.Context, object.Sibling, error) {
	switch {
	case m == bucket.LWW:
		return putNewest(o, c, s, nowMS)
	case s.Tombstone:
		return c, s, nil
	case m == bucket.Counter:
		return c, s, Check(m, s.Value)
	case folds(m):
		return putFold(m, o, c, s, nowMS)
	}
	return c, s, nil
}

// Reply is what a client that had seen c and put the value wrote has seen, when
// o is the object after it and d the put's dot. It is as [object.Object.Reply],
// except that it does not cover the put where other values were folded into it:
// the client has not seen those, so what it puts next must not replace them.
func Reply(o object.Object, c version.Context, d version.Dot, wrote []byte) version.Context {
	var op object.OpID
	if i := slices.IndexFunc(o.Siblings, func(s object.Sibling) bool { return s.Dot == d }); i >= 0 {
		op = o.Siblings[i].Op
	}
	var unseen []version.Dot
	for i := range o.Siblings {
		s := &o.Siblings[i]
		stamped := s.Dot == d || s.Op == op && !op.IsZero()
		if !stamped || !s.Tombstone && !bytes.Equal(s.Value, wrote) {
			unseen = append(unseen, s.Dot)
		}
	}
	return superseding(o, c, unseen)
}
