package bucket

import (
	"errors"
	"fmt"
	"time"
)

// ErrInvalid is wrapped with what is wrong and what is allowed.
var ErrInvalid = errors.New("bucket: invalid")

// Mode says what becomes of concurrent writes of one key.
type Mode uint8

// The modes. Siblings keeps all values until a writer resolves them; LWW shows
// the newest; the others merge: the largest or smallest number, the union of
// JSON arrays, the merge of JSON objects, the sum of increments.
const (
	Siblings Mode = iota
	LWW
	Max
	Min
	Union
	JSONMerge
	Counter
	numModes
)

var modeNames = [numModes]string{"siblings", "lww", "max", "min", "union", "json-merge", "counter"}

// String is the mode's name in the API.
func (m Mode) String() string {
	if m < numModes {
		return modeNames[m]
	}
	return fmt.Sprintf("mode(%d)", uint8(m))
}

// ParseMode is the inverse of [Mode.String].
func ParseMode(s string) (Mode, error) {
	for m, name := range modeNames {
		if name == s {
			return Mode(m), nil
		}
	}
	return 0, fmt.Errorf("%w: conflicts %q: siblings, lww, max, min, union, json-merge or counter", ErrInvalid, s)
}

// Bounds of [Properties].
const (
	MinTTL        = time.Second
	MaxTTL        = 100 * 365 * 24 * time.Hour
	MaxSiblings   = 10_000
	MaxValueBytes = 1 << 30
	// MaxReplicas bounds R and W here; a cluster's N bounds them further.
	MaxReplicas = 255
)

// Properties are what a bucket differs in. The zero value of each is the
// default of the node that serves a request.
type Properties struct {
	Mode Mode
	// Level is the consistency of requests that name none: one, two, three,
	// quorum or all; any is for requests alone. R and W, if not 0, win over it.
	Level string
	R, W  uint32
	// TTL is how long values are read that came without a time of their own.
	TTL time.Duration
	// MaxSiblings and MaxValueBytes bound what a put may bring a key to.
	MaxSiblings   uint32
	MaxValueBytes uint64
}

// Validate is ErrInvalid, wrapped, if a property is out of bounds.
func (p Properties) Validate() error {
	switch {
	case p.Mode >= numModes:
		return fmt.Errorf("%w: conflicts %s", ErrInvalid, p.Mode)
	case p.Level != "" && p.Level != "one" && p.Level != "two" && p.Level != "three" && p.Level != "quorum" && p.Level != "all":
		return fmt.Errorf("%w: consistency %q: one, two, three, quorum or all", ErrInvalid, p.Level)
	case p.R > MaxReplicas || p.W > MaxReplicas:
		return fmt.Errorf("%w: r %d, w %d: at most %d", ErrInvalid, p.R, p.W, MaxReplicas)
	case p.TTL != 0 && (p.TTL < MinTTL || p.TTL > MaxTTL):
		return fmt.Errorf("%w: ttl %v: %v to %v, or 0 for none", ErrInvalid, p.TTL, MinTTL, MaxTTL)
	case p.MaxSiblings > MaxSiblings:
		return fmt.Errorf("%w: max_siblings %d: at most %d", ErrInvalid, p.MaxSiblings, MaxSiblings)
	case p.MaxValueBytes > MaxValueBytes:
		return fmt.Errorf("%w: max_value_bytes %d: at most %d", ErrInvalid, p.MaxValueBytes, MaxValueBytes)
	}
	return nil
}
