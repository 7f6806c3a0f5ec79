package hint

import "starling/coordinator/pace"

// widthUnder is how many deliveries may be under way to a target under a
// pressure.
func widthUnder(pressure float64, most int) int {
	return max(int(float64(most)*pace.Yielding(pressure)), 1)
}
