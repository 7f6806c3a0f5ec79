package ring

import (
	"math/bits"
	"slices"

	"github.com/cespare/xxhash/v2"
)

// shareBits is the number of fraction bits of a fair share.
const shareBits = 28

// quota is what a member should carry, counted in partitions.
type quota struct {
	share   uint64 // the fair share, rounded down to shareBits fraction bits
	ceiling int    // the load bound
	floor   int    // what the member gets at least
}

// newQuota bounds a member that fairly keeps the fraction f of all partitions. The bound is the promised 1.10 × share,
// less up to 7/16 of a partition drawn from the seat where more than two partitions are left to spare: the bounds of
// different nodes then step down at different cluster sizes, not all at the same join.
func newQuota(partitions int, f fraction, seat NodeID) quota {
	hi, lo := bits.Mul64(f.num, uint64(partitions)<<shareBits)
	share, rest := bits.Div64(hi, lo, f.den)
	whole := int(share >> shareBits)
	up := whole
	if share&(1<<shareBits-1) != 0 || rest != 0 {
		up++
	}
	slack := share / 10
	dither := min((max(slack, 2<<shareBits)-2<<shareBits)/4, 7<<shareBits/16)
	slack -= scale(dither, xxhash.Sum64(seat[:])>>32, 1<<32)
	return quota{
		share:   share,
		ceiling: min(partitions, max(up, int((share+slack)>>shareBits))),
		floor:   min(whole, int((share*7/10+1<<shareBits-1)>>shareBits)),
	}
}

// rate is the parameter of the exponential score that makes a node be among the first of a ranking for the fraction f
// of all partitions: -log2(1-f) as negLog2 scales it. Where nodes are many this is nearly proportional to f.
func (f fraction) rate() uint64 {
	if f.num >= f.den {
		return maxLog
	}
	hi, lo := bits.Mul64(f.den-f.num, 1<<63)
	quotient, _ := bits.Div64(hi, lo, f.den)
	return negLog2(quotient << 1)
}

// fraction is a non-negative rational number. Numerator and denominator stay below 2^50: they come of weights up to
// MaxWeight, summed over MaxMembers and multiplied once.
type fraction struct{ num, den uint64 }

// party is someone that takes part in a division.
type party struct {
	weight          uint64
	least, greatest uint64
}

// divide gives every party a share of total by weight, but not less than its least nor more than its greatest: what
// this adds or takes away is settled among the others, again by weight. The parties' least must not exceed total, nor
// total their greatest.
func divide(total fraction, parties []party) []fraction {
	shares := make([]fraction, len(parties))
	open := make([]int, len(parties))
	for i := range open {
		open[i] = i
	}
	for len(open) > 0 {
		var weights, over, under uint64
		for _, i := range open {
			weights += parties[i].weight
		}
		// Shares and limits as multiples of 1/(total.den × weights).
		unit := total.den * weights
		for _, i := range open {
			share, p := total.num*parties[i].weight, parties[i]
			over += max(share, p.greatest*unit) - p.greatest*unit
			under += max(p.least*unit, share) - share
			shares[i] = fraction{share, unit}
		}
		if over == 0 && under == 0 {
			break
		}
		// The larger side stays at its limits whatever the other side becomes.
		atGreatest, taken := over >= under, uint64(0)
		open = slices.DeleteFunc(open, func(i int) bool {
			p, limit := parties[i], parties[i].least
			closed := total.num*p.weight <= limit*unit
			if atGreatest {
				limit = p.greatest
				closed = total.num*p.weight >= limit*unit
			}
			if closed {
				shares[i] = fraction{limit, 1}
				taken += limit * total.den
			}
			return closed
		})
		total.num -= taken
	}
	return shares
}

// scale is x × num/den, rounded down, for results below 2^64.
func scale(x, num, den uint64) uint64 {
	hi, lo := bits.Mul64(x, num)
	quotient, _ := bits.Div64(hi, lo, den)
	return quotient
}
