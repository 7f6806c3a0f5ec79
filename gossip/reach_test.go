package gossip

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/memberlist"
)

// Where packets do not pass, a member is alive all the same, for streams reach
// it, and is not reached: that is what an operator is to be told.
func TestReachWithoutPackets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newNetwork(t)
		nodes := cluster(t, net, 3)
		eventually(t, 2*time.Second, "all alive", alive(nodes))
		a, b := nodes[0].g, nodes[1].self.ID
		if took, err := a.Reach(t.Context(), b); err != nil || took > time.Second {
			t.Errorf("with packets: %v, %v", took, err)
		}
		net.setLoss(1)
		var silent memberlist.NoPingResponseError
		if _, err := a.Reach(t.Context(), b); !errors.As(err, &silent) || !a.Alive(b) {
			t.Errorf("without packets: %v, alive %v", err, a.Alive(b))
		}
		net.setLoss(0)
		eventually(t, time.Minute, "all alive", alive(nodes))
		leaveAll(nodes)
	})
}
