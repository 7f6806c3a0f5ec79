package load

import (
	"fmt"
	"slices"
)

// history is what the only writer of a key knows of it. Puts are numbered
// from 1; each is made with the context of the last that was acknowledged, or
// of a later read.
type history struct {
	begun int // puts begun
	acked int // the last acknowledged; 0: none
	token string
	// refused are the latest puts that were answered as not applied.
	refused []int
}

const maxRefused = 64

// begin gives the number of the next put.
func (h *history) begin() int {
	h.begun++
	return h.begun
}

// ack notes the acknowledgement of the put begun last.
func (h *history) ack(number int, token string) {
	h.acked, h.token = number, token
}

// refuse notes that a put was answered as not applied.
func (h *history) refuse(number int) {
	if len(h.refused) == maxRefused {
		h.refused = slices.Delete(h.refused, 0, 1)
	}
	h.refused = append(h.refused, number)
}

// current tells whether a value has all that was acknowledged: it is the
// value of the last acknowledged put, or of one begun after it, which
// supersedes it and whose outcome is not known.
func (h *history) current(number int) bool { return number >= h.acked && number <= h.begun }

// saw learns from a read, and reports whether it was stale: it lacked what
// was acknowledged before. The context of an answer that shows more than the
// last acknowledged value lets the next put supersede all of it.
func (h *history) saw(numbers []int, token string) (stale bool) {
	if !slices.ContainsFunc(numbers, h.current) {
		return h.acked > 0
	}
	if len(numbers) > 1 || numbers[0] != h.acked {
		h.token = token
	}
	return false
}

// check judges the values of one copy once all is quiet.
func (h *history) check(numbers []int) error {
	switch {
	case h.acked == 0:
	case len(numbers) == 0:
		return fmt.Errorf("has nothing of put %d, which was acknowledged", h.acked)
	case !slices.ContainsFunc(numbers, h.current):
		return fmt.Errorf("has puts %v, and of put %d, which was acknowledged, nothing", numbers, h.acked)
	}
	for _, n := range numbers {
		switch {
		case n < 1 || n > h.begun:
			return fmt.Errorf("has put %d; the last was %d", n, h.begun)
		case slices.Contains(h.refused, n):
			return fmt.Errorf("has put %d, which was answered as not applied", n)
		}
	}
	return nil
}
