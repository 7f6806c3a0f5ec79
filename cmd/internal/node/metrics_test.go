package node

import (
	"slices"
	"strings"
	"testing"

	"starling/ring"
)

// The survey tells partitions with all owners alive from those with some down
// and those without a majority, and agrees with the view.
func TestSurvey(t *testing.T) {
	nodes := form(t, 5, "STARLING_PARTITIONS=64")
	view := nodes[0].coord.View()
	down := func(ids ...ring.NodeID) func(ring.NodeID) bool {
		return func(id ring.NodeID) bool { return !slices.Contains(ids, id) }
	}
	for gone := range 4 {
		var ids []ring.NodeID
		for _, n := range nodes[:gone] {
			ids = append(ids, n.id)
		}
		var want [numOwners]int
		for p := range 64 {
			dead := 0
			for _, id := range view.Placement(p).Owners {
				if slices.Contains(ids, id) {
					dead++
				}
			}
			want[[...]int{ownersAlive, ownersDown, ownersMissed, ownersMissed}[dead]]++
		}
		if got, moving := survey(view, down(ids...)); got != want || moving != 0 || gone > 0 && want[ownersAlive] == 64 {
			t.Errorf("%d nodes down: %v, %d move; want %v", gone, got, moving, want)
		}
	}
	_, text := nodes[0].request("GET", "/metrics", "")
	for _, line := range []string{`starling_ring_partitions{owners="all_alive"} 64`, "starling_ring_moving_partitions 0", "starling_node_ready 1",
		`starling_node_state{state="active"} 1`, `starling_node_state{state="leaving"} 0`, `name="n1"`} {
		if !strings.Contains(text, line) {
			t.Errorf("/metrics lacks %s", line)
		}
	}
}
