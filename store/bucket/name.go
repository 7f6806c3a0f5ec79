package bucket

import (
	"strconv"
	"strings"
)

// MaxNameBytes bounds the name of a bucket; MaxStoredBytes that under which its
// objects are stored.
const (
	MaxNameBytes   = 64
	MaxStoredBytes = MaxNameBytes + 1 + 13 // 64 bits in base 36
)

// mark stands between a name and its incarnation. No name has it.
const mark = '~'

// ValidName says whether a name is 1 to [MaxNameBytes] of A-Z a-z 0-9 . _ -
func ValidName(name string) bool {
	for i := range len(name) {
		c := name[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '.', c == '_', c == '-':
		default:
			return false
		}
	}
	return name != "" && len(name) <= MaxNameBytes
}

// Stored is the name that the objects of an incarnation are stored under, and
// their keys are hashed with: the bucket's own for incarnation 0.
func Stored(name string, incarnation uint64) string {
	if incarnation == 0 {
		return name
	}
	return name + string(mark) + strconv.FormatUint(incarnation, 36)
}

// Split is the inverse of [Stored]. ok is false for what it never returns.
func Split(stored string) (name string, incarnation uint64, ok bool) {
	name, digits, marked := strings.Cut(stored, string(mark))
	if !marked {
		return name, 0, ValidName(name)
	}
	n, err := strconv.ParseUint(digits, 36, 64)
	return name, n, err == nil && n > 0 && ValidName(name) && strconv.FormatUint(n, 36) == digits
}
