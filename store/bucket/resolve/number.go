package resolve

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
)

// Bounds of JSON numbers.
const (
	// MaxDigits bounds the digits of a number, without zeros at either end.
	MaxDigits = 1000
	// MaxExponent bounds the power of ten that a number is written with, and
	// the place of its first digit.
	MaxExponent = 1_000_000_000
)

// plainZeros is how many zeros a number may need to be written without exponent.
const plainZeros = 21

// decimal is an exact number: 0.digits times ten to the power of point. digits
// has no zero at either end; that of zero is empty, and its point and sign unset.
type decimal struct {
	digits string
	point  int64
	neg    bool
}

// parseDecimal reads a valid JSON number, in time that is linear in its length.
func parseDecimal(text string) (decimal, error) {
	mantissa, exponent, scaled := strings.Cut(strings.ReplaceAll(text, "E", "e"), "e")
	var d decimal
	mantissa, d.neg = strings.CutPrefix(mantissa, "-")
	whole, fraction, _ := strings.Cut(mantissa, ".")
	d.point = int64(len(whole))
	all := whole + fraction
	d.digits = strings.TrimLeft(all, "0")
	d.point -= int64(len(all) - len(d.digits))
	d.digits = strings.TrimRight(d.digits, "0")
	if scaled {
		power, err := strconv.ParseInt(exponent, 10, 64)
		if err != nil || power < -MaxExponent || power > MaxExponent {
			return decimal{}, fmt.Errorf("%w: number with an exponent beyond %d", ErrUnfit, MaxExponent)
		}
		d.point += power
	}
	switch {
	case d.digits == "":
		return decimal{}, nil
	case len(d.digits) > MaxDigits:
		return decimal{}, fmt.Errorf("%w: number of %d digits, at most %d", ErrUnfit, len(d.digits), MaxDigits)
	case d.point < -MaxExponent || d.point > MaxExponent:
		return decimal{}, fmt.Errorf("%w: number beyond ten to the power of %d", ErrUnfit, MaxExponent)
	}
	return d, nil
}

// sign is -1, 0 or 1.
func (d decimal) sign() int {
	switch {
	case d.digits == "":
		return 0
	case d.neg:
		return -1
	}
	return 1
}

// compare orders numbers by value.
func (d decimal) compare(e decimal) int {
	if c := cmp.Compare(d.sign(), e.sign()); c != 0 {
		return c
	}
	return d.sign() * cmp.Or(cmp.Compare(d.point, e.point), strings.Compare(d.digits, e.digits))
}

// append appends the one JSON text that stands for the number: plain if that
// takes few zeros, and otherwise with one digit before the point.
func (d decimal) append(dst []byte) []byte {
	digits := int64(len(d.digits))
	if d.neg {
		dst = append(dst, '-')
	}
	switch {
	case digits == 0:
		return append(dst, '0')
	case d.point >= digits && d.point-digits <= plainZeros:
		return append(append(dst, d.digits...), strings.Repeat("0", int(d.point-digits))...)
	case 0 < d.point && d.point < digits:
		return append(append(append(dst, d.digits[:d.point]...), '.'), d.digits[d.point:]...)
	case -plainZeros <= d.point && d.point <= 0:
		return append(append(append(dst, "0."...), strings.Repeat("0", int(-d.point))...), d.digits...)
	}
	dst = append(dst, d.digits[0])
	if digits > 1 {
		dst = append(append(dst, '.'), d.digits[1:]...)
	}
	return strconv.AppendInt(append(dst, 'e'), d.point-1, 10)
}
