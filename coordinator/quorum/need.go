package quorum

// Majority is the smallest number of n replicas that any two such choices
// share a member of. Majority(0) is 1: with no owner nothing can be read.
func Majority(n int) int { return n/2 + 1 }

// Verdict is what is known of a request as a whole.
type Verdict uint8

// The verdicts. Impossible means that the replicas not yet heard cannot
// complete the quorum; NotVisible that every owner was heard, or failed, and
// a session's context is still not covered.
const (
	Waiting Verdict = iota
	Done
	Impossible
	NotVisible
)

// String names the verdict.
func (v Verdict) String() string {
	return [...]string{"waiting", "done", "impossible", "not visible"}[v]
}

// answer is what one replica did so far.
type answer uint8

const (
	unasked answer = iota
	asked
	acked
	failed
)
