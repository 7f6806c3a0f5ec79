package load

import (
	"math"
	"math/rand/v2"
	"sync"
)

// zipfian draws ranks from 0 (the most popular) by the method of Gray et al.,
// "Quickly generating billion-record synthetic databases" (1994), as YCSB
// does, with its exponent.
type zipfian struct {
	items, zeta, alpha, eta, half float64
}

const zipfExponent = 0.99

// The scrambled distribution draws ranks among so many items, whatever the
// number of records, and hashes them: the sum over these is known once and
// for all.
const (
	scrambledItems = 10_000_000_000
	scrambledZeta  = 26.46902820178302
)

func newZipfian(items int, zeta float64) zipfian {
	n := float64(items)
	zeta2 := zetaSum(2)
	return zipfian{
		items: n, zeta: zeta,
		alpha: 1 / (1 - zipfExponent),
		eta:   (1 - math.Pow(2/n, 1-zipfExponent)) / (1 - zeta2/zeta),
		half:  1 + math.Pow(0.5, zipfExponent),
	}
}

// zetaSum is the sum of 1/i^exponent for i from 1 to n.
func zetaSum(n int) float64 {
	sum := 0.0
	for i := 1; i <= n; i++ {
		sum += 1 / math.Pow(float64(i), zipfExponent)
	}
	return sum
}

// rank maps u, uniform in [0, 1), to a rank below the number of items.
func (z *zipfian) rank(u float64) int {
	uz := u * z.zeta
	switch {
	case uz < 1:
		return 0
	case uz < z.half:
		return min(1, int(z.items)-1)
	}
	return min(int(z.items*math.Pow(z.eta*u-z.eta+1, z.alpha)), int(z.items)-1)
}

// scatter is YCSB's FNV-1 style hash of a rank: it spreads popular ranks.
func scatter(rank int) uint64 {
	const offset, prime = 0xCBF29CE484222325, 1099511628211
	h, v := uint64(offset), uint64(rank)
	for range 8 {
		h = (h ^ v&0xff) * prime
		v >>= 8
	}
	return h
}

// chooser draws record numbers for one connection.
type chooser struct {
	rng          *rand.Rand
	distribution Distribution
	zipf         zipfian
	inserted     *insertCounter
}

// record draws the number of a record that exists.
func (c *chooser) record() int {
	n := c.inserted.known()
	switch c.distribution {
	case Zipfian:
		return int(scatter(c.zipf.rank(c.rng.Float64())) % uint64(n))
	case Latest:
		return max(0, n-1-c.zipf.rank(c.rng.Float64()))
	default:
		return c.rng.IntN(n)
	}
}

// insertCounter hands out the numbers of new records and knows up to which
// one all are answered: a read must not ask for a record that is on its way.
type insertCounter struct {
	mu       sync.Mutex
	next     int
	answered int          // all records below are answered
	early    map[int]bool // answered above that; one a connection at most
}

func newInsertCounter(records int) *insertCounter {
	return &insertCounter{next: records, answered: records, early: make(map[int]bool)}
}

func (c *insertCounter) begin() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.next++
	return c.next - 1
}

func (c *insertCounter) end(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.early[n] = true
	for c.early[c.answered] {
		delete(c.early, c.answered)
		c.answered++
	}
}

// known is the number of records that a read may ask for.
func (c *insertCounter) known() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.answered
}
