package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"starling/client"
)

const (
	// stateJoining and stateLeaving are those of members that come and go.
	stateJoining, stateLeaving = "joining", "leaving"
	stateActive                = "active"
	// watchPause is the usual time between two looks at the cluster.
	watchPause = time.Second
	// leastWatchPause bounds what --interval asks of the nodes.
	leastWatchPause = 100 * time.Millisecond
	// rateSamples is over how many looks a rate is taken.
	rateSamples = 10
)

// watchOptions are the flags of status --watch.
type watchOptions struct {
	pause        time.Duration
	untilSettled bool
}

// watchStatus shows the status again and again, with a line for each member
// that is filled or leaves, until a signal, --timeout, or nothing moves.
func (a *app) watchStatus(ctx context.Context, o watchOptions) error {
	ctx, cancel := a.waitingTime(ctx)
	defer cancel()
	w := newWatch()
	for first := true; ; first = false {
		var doc client.Cluster
		err := a.ask(ctx, "/v1/cluster", &doc)
		switch {
		case ctx.Err() != nil:
			return endOfWatch(ctx, o)
		case err != nil && first:
			return err
		case err != nil:
			a.note("%s", message(err))
		default:
			if err := a.printWatched(w, &doc, time.Now()); err != nil {
				return err
			}
			if o.untilSettled && settled(&doc) {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return endOfWatch(ctx, o)
		case <-time.After(o.pause):
		}
	}
}

// waitingTime ends a wait at a signal, and after --timeout.
func (a *app) waitingTime(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx = endAtSignal(ctx, func() {})
	if a.timeout > 0 {
		return context.WithTimeout(ctx, a.timeout)
	}
	return context.WithCancel(ctx)
}

// endOfWatch is an error where the watch was to see the end.
func endOfWatch(ctx context.Context, o watchOptions) error {
	if !o.untilSettled {
		return nil
	}
	return fmt.Errorf("data still moves, it was not waited for: %v", context.Cause(ctx)) // no error of the cluster's
}

// settled: nobody comes or goes, and nothing is to be filled.
func settled(doc *client.Cluster) bool {
	return doc.ID != "" && !slices.ContainsFunc(doc.Members, func(m client.Member) bool {
		return m.State != stateRemoved && (m.State != stateActive || m.Pending > 0)
	})
}

// printWatched shows one look at the cluster: on a terminal in the place of
// the one before.
func (a *app) printWatched(w *watch, doc *client.Cluster, now time.Time) error {
	s := statusOf(doc)
	lines := w.see(doc.Members, now)
	if a.output == outputJSON {
		return a.printJSON(s)
	}
	head := formatTime(now.Truncate(time.Second)) + ", as " + dash(doc.Node) + " sees it"
	if isTerminal(a.out) && a.env("TERM") != "dumb" {
		if _, err := fmt.Fprint(a.out, "\x1b[H\x1b[2J"); err != nil {
			return err
		}
	} else if w.looks > 1 {
		head = "\n" + head
	}
	if _, err := fmt.Fprintln(a.out, head); err != nil {
		return err
	}
	if err := a.printStatus(&s); err != nil {
		return err
	}
	for _, line := range lines {
		if err := a.printLine(amber, "%s", line); err != nil {
			return err
		}
	}
	return nil
}

// watch follows the members that are filled or leave.
type watch struct {
	looks   int
	motions map[string]*motion // by ID, of those alone that move
}

// motion is what was seen of one member.
type motion struct {
	most    int // partitions that it had to get, or to hand over, at most
	samples []sample
}

type sample struct {
	at    time.Time
	bytes int64
}

func newWatch() *watch { return &watch{motions: make(map[string]*motion)} }

// see takes in a look at the cluster, and answers a line for each member that
// moves, by name.
func (w *watch) see(members []client.Member, now time.Time) (lines []string) {
	w.looks++
	moving := make(map[string]*motion)
	for _, m := range byName(members) {
		if !moves(m) {
			continue
		}
		seen := w.motions[m.ID]
		if seen == nil {
			seen = &motion{}
		}
		moving[m.ID] = seen
		lines = append(lines, seen.line(m, now))
	}
	w.motions = moving
	return lines
}

func moves(m client.Member) bool {
	return m.State == stateJoining || m.State == stateLeaving || m.State != stateRemoved && m.Pending > 0
}

// line takes in what a member has become.
func (o *motion) line(m client.Member, now time.Time) string {
	if m.State == stateLeaving {
		return o.leaving(m)
	}
	o.most = max(o.most, m.Pending)
	share := part(int64(o.most-m.Pending), int64(o.most))
	text := fmt.Sprintf("%s to go", count(int64(m.Pending), "partition", "partitions"))
	if t := m.Transfer; t != nil && t.BytesTotal > 0 {
		o.sample(now, t.BytesDone)
		share = part(t.BytesDone, t.BytesTotal)
		text = bytesText(t.BytesDone) + " of " + bytesText(t.BytesTotal) + ", " + text
		if rate := o.rate(); rate > 0 {
			text += ", " + bytesText(int64(rate)) + "/s"
			if left := t.BytesTotal - t.BytesDone; left > 0 {
				text += ", about " + durationText(float64(left)/rate) + " left"
			}
		}
	}
	if !m.Alive {
		text += ", not alive"
	}
	return gauge(m.Name+" is filled", share) + ": " + text
}

// leaving is the line of a member that hands over what it owns. When it has,
// what is left to do has no measure.
func (o *motion) leaving(m client.Member) string {
	o.most = max(o.most, m.Settled)
	text := leavingText(m)
	if !m.Alive {
		text += ", not alive, it goes on when it is started again"
	}
	if m.Settled == 0 {
		return m.Name + " leaves: " + text
	}
	return gauge(m.Name+" leaves", part(int64(o.most-m.Settled), int64(o.most))) + ": " + text
}

// leavingText is what a member that leaves waits for.
func leavingText(m client.Member) string {
	if m.Leaving == "" {
		return count(int64(m.Settled), "partition", "partitions") + " to hand over"
	}
	return "waits for " + m.Leaving
}

// part is done of all, where all may be 0.
func part(done, all int64) float64 {
	if all <= 0 {
		return 0
	}
	return min(1, max(0, float64(done)/float64(all)))
}

// sample notes how much was done. Less than before is another transfer.
func (o *motion) sample(at time.Time, bytes int64) {
	if n := len(o.samples); n > 0 && bytes < o.samples[n-1].bytes {
		o.samples = nil
	}
	o.samples = append(o.samples, sample{at, bytes})
	if len(o.samples) > rateSamples {
		o.samples = o.samples[1:]
	}
}

// rate is in bytes a second, 0 where it is not known.
func (o *motion) rate() float64 {
	if len(o.samples) < 2 {
		return 0
	}
	first, last := o.samples[0], o.samples[len(o.samples)-1]
	seconds := last.at.Sub(first.at).Seconds()
	if seconds <= 0 {
		return 0
	}
	return float64(last.bytes-first.bytes) / seconds
}

// addresses are where the members that are there serve clients.
func (a *app) addresses(ctx context.Context) ([]string, error) {
	var doc client.Cluster
	if err := a.ask(ctx, "/v1/cluster", &doc); err != nil {
		return nil, err
	}
	var list []string
	for _, m := range byName(doc.Members) {
		if m.State != stateRemoved && m.HTTP != "" {
			list = append(list, m.HTTP)
		}
	}
	return list, nil
}

// awaitLeft waits until a member that leaves is removed. Its own process ends
// then, so that others are asked as well, at their addresses.
func (a *app) awaitLeft(ctx context.Context, id string, others []string, pause time.Duration) error {
	ctx, cancel := a.waitingTime(ctx)
	defer cancel()
	bar := a.newBar()
	defer bar.clear()
	w, silent, toldDead := newWatch(), 0, false
	for {
		m, err := a.memberOf(ctx, id, others)
		switch {
		case ctx.Err() != nil:
		case err != nil:
			if silent++; silent >= maxSilentPolls {
				return err
			}
		case m.State == stateRemoved:
			return nil
		default:
			silent = 0
			for _, line := range w.see([]client.Member{m}, time.Now()) {
				bar.draw(line)
			}
			if !m.Alive && !toldDead {
				toldDead = true
				bar.clear()
				a.note("%s is not alive; it goes on leaving when it is started again", m.Name)
			}
		}
		select {
		case <-ctx.Done(): // no error of the cluster's, whatever the cause is
			return fmt.Errorf("the node goes on leaving, it was not waited for: %v", context.Cause(ctx))
		case <-time.After(pause):
		}
	}
}

// memberOf asks for a member by its ID, at the endpoints and then at others.
func (a *app) memberOf(ctx context.Context, id string, others []string) (client.Member, error) {
	var doc client.Cluster
	if err := a.askOf(ctx, slices.Concat(a.endpoints(), others), http.MethodGet, "/v1/cluster", &doc); err != nil {
		return client.Member{}, err
	}
	at := slices.IndexFunc(doc.Members, func(m client.Member) bool { return m.ID == id })
	if at < 0 {
		return client.Member{}, errors.New("the node that was asked does not know the one that leaves")
	}
	return doc.Members[at], nil
}
