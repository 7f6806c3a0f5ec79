package node

import (
	"context"
	"errors"
	"fmt"
	"time"

	"starling/gossip/state"
)

// errLeft ends a node that has given everything away; it is no failure.
var errLeft = errors.New("node: left the cluster")

const (
	// leaveLook is the pause between two looks at what a leaving node waits
	// for.
	leaveLook = 250 * time.Millisecond
	// leaveLog is the pause between two lines about it.
	leaveLog = 10 * time.Second
	// departTimeout bounds the last steps, which the API does not see any more.
	departTimeout = time.Minute
)

// leaving says whether the cluster map has this node leave.
func (n *Node) leaving() bool {
	g := n.gossip.Load()
	if g == nil {
		return false
	}
	self, _ := g.Map().Member(n.id)
	return self.State == state.Leaving
}

// leaveWaits says what stands between a leaving node and its end, in the order
// in which it goes: a vote, rows that an owner may lack, hints. "" means that
// nobody needs this node any more; for a node that does not leave it means
// nothing.
//
// The order is what keeps data. As long as the node votes, writes come to it.
// Once it does not, no row here changes any more, and the last exchange with
// every owner shows what they lack. Hints it takes none, so those that are here
// become fewer.
func (n *Node) leaveWaits() string {
	v := n.coord.View()
	if v == nil {
		return "it has no ring yet"
	}
	held := ""
	if n.pace.Rate() == 0 {
		held = ", while transfers are held"
	}
	if votes := v.OwnedBy(n.id) + len(v.Displaced(n.id)); votes > 0 {
		return fmt.Sprintf("%d partitions until others hold them%s", votes, held)
	}
	if rows := n.parter.Remaining(); rows > 0 {
		return fmt.Sprintf("%d partitions for a last comparison with their owners%s", rows, held)
	}
	if hints := n.hintCount(); hints > 0 {
		return fmt.Sprintf("%d hints to be delivered or handed on", hints)
	}
	return ""
}

// leave waits, where the map has this node leave, until nobody needs it, and
// then ends the front with errLeft. What is left to do after that is depart's.
func (n *Node) leave(ctx context.Context, stopFront context.CancelCauseFunc) error {
	ticker := time.NewTicker(leaveLook)
	defer ticker.Stop()
	var told time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		if !n.leaving() {
			continue
		}
		waits := n.leaveWaits()
		if waits == "" {
			n.log.Info("everything is given away: the node stops, and ends as removed")
			stopFront(errLeft)
			return nil
		}
		if time.Since(told) >= leaveLog {
			told = time.Now()
			n.log.Info("leaving the cluster", "waits_for", waits)
		}
	}
}

// depart is the end of leaving. The API has ended, so this node coordinates
// nothing that could leave a hint here any more: the hints of the last moments
// are handed on, and the node declares itself removed and tells its peers.
// Where that does not work out the node is still leaving, and goes on at its
// next start. drained and gossiped are closed when the parts of these names
// have ended.
func (n *Node) depart(ctx context.Context, drained, gossiped <-chan struct{}) error {
	ctx, cancel := context.WithTimeout(ctx, departTimeout)
	defer cancel()
	<-drained // it ends with the front
	if waits := n.awaitNothing(ctx); waits != "" {
		return fmt.Errorf("node: leaving is not complete, it waits for %s: start the node again, and it goes on", waits)
	}
	if err := n.gossip.Load().Update(func(self *state.Member) { self.State = state.Removed }); err != nil {
		return fmt.Errorf("node: leaving: %w", err)
	}
	<-gossiped // which says goodbye
	n.log.Info("left the cluster")
	return nil
}

// awaitNothing delivers hints until nothing keeps this node from leaving, or
// ctx ends. It answers what does.
func (n *Node) awaitNothing(ctx context.Context) (waits string) {
	ctx, stop := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = n.drainer.Run(ctx) // nil, for no other runs
	}()
	defer func() {
		stop()
		<-ended
	}()
	look := time.NewTicker(leaveLook)
	defer look.Stop()
	for {
		if waits = n.leaveWaits(); waits == "" {
			return ""
		}
		select {
		case <-ctx.Done():
			return waits
		case <-look.C:
		}
	}
}
