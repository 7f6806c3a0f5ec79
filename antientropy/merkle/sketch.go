package merkle

// SketchLeaves is how many leaves two sketches tell that differ.
const SketchLeaves = 8

// Sketch sums up the leaves of a tree under a salt, so that the sketches of two
// trees tell which leaves differ, if these are few. A leaf's digest is a number
// of the field of integers modulo prime, and element k of a sketch adds, for
// every leaf i that holds something, the digest times (i+1)^k. So the
// difference of two sketches is what a Reed-Solomon code calls the syndrome of
// the leaves that differ.
type Sketch [2 * SketchLeaves]uint32

// prime is the largest below 2^32. A product of two numbers of the field and a
// third fit into 64 bits.
const prime = 1<<32 - 5

// Sketch is that of the tree under a salt.
func (t *Tree) Sketch(salt uint64) (s Sketch) {
	var sums [len(s)]uint64 // of at most Leaves numbers below 2^32
	for i, leaf := range t.leaves {
		if leaf == (Node{}) {
			continue
		}
		term := uint64(leaf.Digest(salt)) % prime
		for k := range sums {
			sums[k] += term
			term = term * uint64(i+1) % prime
		}
	}
	for k := range s {
		s[k] = uint32(sums[k] % prime)
	}
	return s
}

// Differ gives the numbers, ascending, of the leaves in which two trees differ,
// from their sketches under one salt. ok is false if there are more than
// [SketchLeaves]. One leaf that differs is overlooked as if by its [Digest]; that
// many are taken for few is far less likely.
func (s *Sketch) Differ(o *Sketch) (leaves []uint16, ok bool) {
	var syndrome [len(s)]uint64
	for k := range syndrome {
		syndrome[k] = minus(uint64(s[k])%prime, uint64(o[k])%prime)
	}
	locator, n := locate(&syndrome)
	if n > SketchLeaves {
		return nil, false
	}
	for i := range uint16(Leaves) {
		if locator.at(n, uint64(i+1)) == 0 {
			leaves = append(leaves, i)
		}
	}
	return leaves, len(leaves) == n
}

// polynomial has the coefficients c[0], c[1], …
type polynomial [2*SketchLeaves + 1]uint64

// at is the sum of c[j]·x^(n-j) for j up to n.
func (c *polynomial) at(n int, x uint64) (y uint64) {
	for _, a := range c[:n+1] {
		y = (y*x + a) % prime
	}
	return y
}

// locate finds the shortest recurrence that makes the syndrome: for every k
// from n on, the sum of c[j]·syndrome[k-j] for j up to n is 0. If at most
// SketchLeaves leaves differ these are n, and their numbers plus one are the
// zeros of c. It is the algorithm of Berlekamp and Massey (Massey, "Shift-register
// synthesis and BCH decoding", 1969).
func locate(syndrome *[2 * SketchLeaves]uint64) (c polynomial, n int) {
	// before is what c was when n last changed, gap how many elements ago that
	// was, and missed by how much before had failed then.
	c[0] = 1
	before, gap, missed := c, 1, uint64(1)
	for k := range syndrome {
		var off uint64
		for j := range n + 1 {
			off = (off + c[j]*syndrome[k-j]) % prime
		}
		if off == 0 {
			gap++
			continue
		}
		was := c
		factor := off * inverse(missed) % prime
		for j := gap; j < len(c); j++ {
			c[j] = minus(c[j], factor*before[j-gap]%prime)
		}
		if gap++; 2*n <= k {
			before, n, gap, missed = was, k+1-n, 1, off
		}
	}
	return c, n
}

func minus(a, b uint64) uint64 { return (a + prime - b) % prime }

// inverse of a number that is not zero: its power of prime-2, by Fermat.
func inverse(x uint64) uint64 {
	y := uint64(1)
	for e := uint64(prime - 2); e > 0; e >>= 1 {
		if e&1 != 0 {
			y = y * x % prime
		}
		x = x * x % prime
	}
	return y
}
