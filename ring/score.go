package ring

import (
	"cmp"
	"encoding/binary"
	"math/bits"
	"slices"

	"github.com/cespare/xxhash/v2"
)

// logBits is the number of fraction bits of what negLog2 returns.
const logBits = 40

// maxLog is the value of negLog2 for nothing at all, where the true logarithm is infinite.
const maxLog = 64 << logBits

// negLog2 is -log2(x/2^64) for x > 0, rounded, and maxLog for x = 0. It squares the mantissa once for every bit of the
// result: integers only, so that every platform gets the same bits.
func negLog2(x uint64) uint64 {
	if x == 0 {
		return maxLog
	}
	zeros := bits.LeadingZeros64(x)
	mantissa := x << zeros // 1 <= mantissa/2^63 < 2
	var fraction uint64
	for range logBits {
		mantissa, _ = bits.Mul64(mantissa, mantissa) // 1 <= mantissa/2^62 < 4
		bit := mantissa >> 63
		mantissa <<= 1 - bit
		fraction = fraction<<1 | bit
	}
	return uint64(zeros+1)<<logBits - fraction
}

// rankOf lists, for every partition, its place (0 to Q-1) in the node's own ranking of all partitions, and the low half
// of the pair's hash. The ranking is the order of the hashes of (seat, partition): it depends on nothing but the seat
// and Q.
func rankOf(seat NodeID, ranks []uint16, ties []uint32, scratch []uint64) {
	var pair [len(seat) + 4]byte
	copy(pair[:], seat[:])
	for p := range ranks {
		binary.BigEndian.PutUint32(pair[len(seat):], uint32(p))
		h := xxhash.Sum64(pair[:])
		ties[p] = uint32(h)
		scratch[p] = h&^0xffff | uint64(p) // p < MaxPartitions = 2^16
	}
	slices.Sort(scratch)
	for rank, hashed := range scratch {
		ranks[hashed&0xffff] = uint16(rank)
	}
}

// candidate is a member in the ranking of one partition.
type candidate struct {
	score  uint64 // lower is better
	tie    uint32 // of equal scores
	member uint16
}

func (a candidate) compare(b candidate) int {
	if a.score != b.score {
		return cmp.Compare(a.score, b.score)
	}
	if a.tie != b.tie {
		return cmp.Compare(a.tie, b.tie)
	}
	return cmp.Compare(a.member, b.member)
}

// rank sorts all members for every partition, best first, by the exponential score -log(1-u)/rate of weighted
// rendezvous hashing, where u is the place of the partition in the member's own ranking. The result has Q rows of
// len(members) candidates.
func rank(partitions int, members []Member, rates []uint64) []candidate {
	n := len(members)
	rows := make([]candidate, partitions*n)
	logs := make([]uint64, partitions) // by rank
	for r := range logs {
		// The middle of the rank's stretch: 1-u = 1 - (2r+1)/2Q, as a fraction of 2^64.
		logs[r] = negLog2(uint64(2*(partitions-r)-1) << (64 - bits.Len(uint(partitions))))
	}
	ranks, ties, scratch := make([]uint16, partitions), make([]uint32, partitions), make([]uint64, partitions)
	for i, m := range members {
		rankOf(m.seat(), ranks, ties, scratch)
		for p, r := range ranks {
			// logs <= 2^45 and rates >= 2^16, so the quotient fits.
			score, _ := bits.Div64(logs[r]>>32, logs[r]<<32, rates[i])
			rows[p*n+i] = candidate{score: score, tie: ties[p], member: uint16(i)}
		}
	}
	for p := range partitions {
		slices.SortFunc(rows[p*n:(p+1)*n], candidate.compare)
	}
	return rows
}
