package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"starling/client"
)

// newRepairCommand is about comparing replicas now.
func newRepairCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "repair",
		Short: "Compare replicas and make them equal now",
	}
	cmd.AddCommand(newRepairStartCommand(a), newRepairStatusCommand(a))
	return cmd
}

func newRepairStartCommand(a *app) *cobra.Command {
	var bucket, node string
	var partition int
	var wait bool
	cmd := &cobra.Command{
		Use:   "start",
		Short: "Have the members compare their replicas now",
		Long: `Have every member compare its replicas with those of the other owners now, and
ship what one of them lacks. Replicas are compared unaided all the time; this
does not wait for their turn. A node repairs one thing at a time: while it is at
an earlier repair it refuses, and the exit code is 5.

--partition, --bucket and --node narrow down which pairs of owners are meant.
The keys of a bucket are in all partitions, so that all are compared.

With --wait the command ends when all of them have been compared, or after
--timeout where that is given; the repair goes on without it. The exit code is
then 1 where a member could not be asked or compared with.`,
		Example: `  starling repair start
  starling repair start --wait
  starling repair start --node n3 --wait --timeout 5m
  starling repair start --partition 417 -o json`,
		Args: exactly(),
	}
	f := cmd.Flags()
	f.StringVar(&bucket, "bucket", "", "only what concerns this `bucket`")
	f.IntVar(&partition, "partition", 0, "only this partition, by its `number` (0 is the first)")
	f.StringVar(&node, "node", "", "only pairs that this `node` is one of")
	f.BoolVar(&wait, "wait", false, "wait until all has been compared")
	a.completeMembers(cmd, "node")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		query := url.Values{}
		if f.Changed("partition") {
			if partition < 0 {
				return usagef("--partition %d: 0 or more is allowed", partition)
			}
			query.Set("partition", strconv.Itoa(partition))
		}
		for name, value := range map[string]string{"bucket": bucket, "node": node} {
			if f.Changed(name) {
				query.Set(name, value)
			}
		}
		return a.startRepair(cmd.Context(), query, wait)
	}
	return cmd
}

func newRepairStatusCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Show how far the last repair of every member is",
		Long: `Show one line for each member: whether the repair that was last asked of it
runs (incomplete: it has given pairs up), when it began, how many pairs of owners
it has compared, the objects that it shipped, and the members that it could not
reach. Of two owners one compares, so that each pair is counted once. A node
forgets its repairs when it restarts.`,
		Example: `  starling repair status
  starling repair status -o json | jq .running`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			r, err := a.askRepair(cmd.Context(), http.MethodGet, nil)
			if err != nil {
				return err
			}
			a.noteSilent(r.doc.Unreachable)
			return a.printRepair(r)
		},
	}
}

// repairAnswer is what a node says of repairs, as it said it and read.
type repairAnswer struct {
	raw json.RawMessage
	doc client.RepairStatus
}

func (a *app) askRepair(ctx context.Context, method string, query url.Values) (*repairAnswer, error) {
	path := "/v1/repair"
	if len(query) > 0 {
		path += "?" + query.Encode()
	}
	r := &repairAnswer{}
	if err := a.askAny(ctx, method, path, &r.raw); err != nil {
		return nil, err
	}
	if err := json.Unmarshal(r.raw, &r.doc); err != nil {
		return nil, fmt.Errorf("repair: %w", err)
	}
	return r, nil
}

func (a *app) noteSilent(names []string) {
	for _, name := range names {
		a.note("%s did not answer and was passed over", name)
	}
}

func (a *app) startRepair(ctx context.Context, query url.Values, wait bool) error {
	r, err := a.askRepair(ctx, http.MethodPost, query)
	if err != nil {
		return err
	}
	a.noteSilent(r.doc.Unreachable)
	if !wait {
		return a.printRepair(r)
	}
	r, failed := a.awaitRepair(ctx, r, repairPoll)
	return errors.Join(a.printRepair(r), failed)
}

const (
	// repairPoll is the pause between two looks at a repair.
	repairPoll = 500 * time.Millisecond
	// maxSilentPolls is how often in a row a member may leave the question
	// unanswered before it is not waited for any more.
	maxSilentPolls = 20
)

// awaitRepair looks until the repair that began is over, and answers what was
// seen last.
func (a *app) awaitRepair(ctx context.Context, begun *repairAnswer, pause time.Duration) (*repairAnswer, error) {
	ctx = endAtSignal(ctx, func() {})
	if a.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, a.timeout)
		defer cancel()
	}
	bar := a.newBar()
	defer bar.clear()
	w, last := watchRepair(&begun.doc), begun
	for !w.over() {
		bar.draw(repairLine(w.count()))
		select {
		case <-ctx.Done(): // no error of the cluster's, whatever the cause is
			return last, fmt.Errorf("the repair goes on, it was not waited for: %v", context.Cause(ctx))
		case <-time.After(pause):
		}
		r, err := a.askRepair(ctx, http.MethodGet, nil)
		if err != nil { // as if no member had answered
			w.see(&client.RepairStatus{}, message(err))
			continue
		}
		last = r
		w.see(&r.doc, "it did not answer")
	}
	return last, w.verdict()
}

func repairLine(c client.RepairCount) string {
	share := 1.0
	if c.PairsTotal > 0 {
		share = float64(c.PairsDone) / float64(c.PairsTotal)
	}
	return fmt.Sprintf("%s: %d of %d pairs, %d keys shipped", gauge("repairing", share), c.PairsDone, c.PairsTotal, c.KeysShipped)
}

// repairWatch follows the repairs that members began together.
type repairWatch struct {
	runs []repairRun
	// silent are the members that did not begin.
	silent []string
}

type repairRun struct {
	last client.MemberRepair
	// unanswered counts the polls in a row that it left unanswered; lost is
	// why it is not followed any more.
	unanswered int
	lost       string
}

func watchRepair(begun *client.RepairStatus) *repairWatch {
	w := &repairWatch{silent: begun.Unreachable}
	for _, m := range begun.Members {
		w.runs = append(w.runs, repairRun{last: m})
	}
	return w
}

// see takes in an answer; silence is why a member is not in it.
func (w *repairWatch) see(doc *client.RepairStatus, silence string) {
	for i := range w.runs {
		r := &w.runs[i]
		if r.lost != "" || !r.last.Running {
			continue
		}
		at := slices.IndexFunc(doc.Members, func(m client.MemberRepair) bool { return m.Node == r.last.Node })
		switch {
		case at < 0:
			if r.unanswered++; r.unanswered >= maxSilentPolls {
				r.lost = silence
			}
		case doc.Members[at].ID != r.last.ID:
			r.lost = "it restarted or began another repair"
		default:
			r.last, r.unanswered = doc.Members[at], 0
		}
	}
}

// over: no repair that is followed still runs.
func (w *repairWatch) over() bool {
	return !slices.ContainsFunc(w.runs, func(r repairRun) bool { return r.last.Running && r.lost == "" })
}

// count sums up how far the repairs are.
func (w *repairWatch) count() (sum client.RepairCount) {
	for i := range w.runs {
		m := &w.runs[i].last
		sum.PairsDone += m.PairsDone
		sum.PairsTotal += m.PairsTotal
		sum.KeysShipped += m.KeysShipped
		sum.BytesShipped += m.BytesShipped
	}
	return sum
}

// verdict is an error where something was not compared.
func (w *repairWatch) verdict() error {
	var failed []string
	for _, name := range w.silent {
		failed = append(failed, name+" did not begin")
	}
	for i := range w.runs {
		r := &w.runs[i]
		switch {
		case r.lost != "":
			failed = append(failed, r.last.Node+": "+r.lost)
		case len(r.last.Unreachable) > 0:
			failed = append(failed, r.last.Node+" could not reach "+strings.Join(r.last.Unreachable, ", "))
		case r.last.PairsDone < r.last.PairsTotal:
			failed = append(failed, fmt.Sprintf("%s gave up %d pairs", r.last.Node, r.last.PairsTotal-r.last.PairsDone))
		}
	}
	if failed == nil {
		return nil
	}
	return fmt.Errorf("not all was compared: %s", strings.Join(failed, "; "))
}

func (a *app) printRepair(r *repairAnswer) error {
	if a.output == outputJSON {
		return a.printJSON(r.raw)
	}
	t := newTable("NODE", "STATE", "BEGAN", "PAIRS", "KEYS", "BYTES", "UNREACHABLE")
	for _, m := range r.doc.Members {
		line, state := plain, "done"
		switch {
		case m.Running:
			state = "running"
		case m.ID == 0:
			state = "none"
		case m.PairsDone < m.PairsTotal:
			state = "incomplete"
		}
		if len(m.Unreachable) > 0 || state == "incomplete" {
			line = amber
		}
		t.add(line, m.Node, state, dash(formatTime(m.Started)), fmt.Sprintf("%d/%d", m.PairsDone, m.PairsTotal),
			strconv.FormatUint(m.KeysShipped, 10), strconv.FormatUint(m.BytesShipped, 10), dash(strings.Join(m.Unreachable, ",")))
	}
	if err := a.printTable(t); err != nil {
		return err
	}
	state := "not running"
	if r.doc.Running {
		state = "running"
	}
	return a.printLine(plain, "%s: %d of %d pairs compared, %d keys of %d bytes shipped",
		state, r.doc.PairsDone, r.doc.PairsTotal, r.doc.KeysShipped, r.doc.BytesShipped)
}
