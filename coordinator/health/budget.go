package health

// Budget bounds hedges to a share of the reads, so that a cluster where all
// are slow is not asked twice for everything. It is not safe for concurrent
// use.
type Budget struct {
	perMille, tokens, limit int // tokens are thousandths of a hedge
}

const hedge = 1000

// NewBudget allows perMille (0 to 1000) hedges for 1000 reads, and burst of
// them before any read. What is not spent is saved up to burst, at least 1.
func NewBudget(perMille, burst int) *Budget {
	perMille, burst = min(max(perMille, 0), hedge), max(burst, 0)
	return &Budget{perMille: perMille, tokens: burst * hedge, limit: max(burst, 1) * hedge}
}

// Earn counts a read.
func (b *Budget) Earn() { b.tokens = min(b.tokens+b.perMille, b.limit) }

// Spend says whether there may be a hedge now, and counts it.
func (b *Budget) Spend() bool {
	if b.tokens < hedge {
		return false
	}
	b.tokens -= hedge
	return true
}
