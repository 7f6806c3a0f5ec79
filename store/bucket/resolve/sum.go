package resolve

import (
	"math/big"
	"math/bits"
	"strconv"
)

// sum adds up 64-bit integers, as many as there may be, in 128 bits.
type sum struct {
	high int64
	low  uint64
}

func (s sum) plus(n int64) sum {
	low, carry := bits.Add64(s.low, uint64(n), 0)
	return sum{s.high + n>>63 + int64(carry), low}
}

// int64 is the sum, if 64 bits hold it.
func (s sum) int64() (n int64, ok bool) {
	n = int64(s.low)
	return n, s.high == n>>63
}

// append appends the sum in decimal digits.
func (s sum) append(dst []byte) []byte {
	if n, ok := s.int64(); ok {
		return strconv.AppendInt(dst, n, 10)
	}
	n := new(big.Int).Lsh(big.NewInt(s.high), 64)
	return n.Add(n, new(big.Int).SetUint64(s.low)).Append(dst, 10)
}
