package main

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"starling/cmd/internal/load"
)

// The goals of a release: the part of a bare HTTP server's throughput that a
// cluster of one machine reaches at quorum.
const (
	defaultPutGoal = 0.07
	defaultGetGoal = 0.16
)

// errGoalMissed ends a comparison that has printed its figures.
var errGoalMissed = errors.New("the goals are not reached")

func newCompareCommand(a *app) *cobra.Command {
	var b benchFlags
	var echo string
	o := load.CompareOptions{}
	cmd := &cobra.Command{
		Use:   "compare --echo URL",
		Short: "Measure a cluster beside a bare echo server",
		Long: `Measure PUT and GET of a cluster and of a bare echo server in turns (echo PUT,
store PUT, echo GET, store GET, each for --round-duration), and show the ratio
of each round and the medians: figures that mean the same on any machine.

The load goes to the endpoints in turn, whichever nodes own the keys, and
uniformly over the records. The exit code is 1 where a median ratio is below its
goal or a measured request failed.`,
		Example: `  starling bench-echo --listen 127.0.0.1:4699 &
  starling bench compare --echo http://127.0.0.1:4699 --endpoint http://127.0.0.1:4710,http://127.0.0.1:4720`,
		Args: exactly(),
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := b.check(); err != nil {
			return err
		}
		switch {
		case echo == "":
			return usagef("--echo is missing: the address of a running bench-echo")
		case o.Rounds < 1:
			return usagef("--rounds %d: 1 or more is allowed", o.Rounds)
		case o.RoundDuration <= 0:
			return usagef("--round-duration %v: it must be positive", o.RoundDuration)
		}
		bar := a.newBar()
		defer bar.clear()
		o.Store, o.Echo = b.target(a), load.Target{Name: "echo", Endpoints: []string{echo}, Bucket: b.bucket}
		o.Connections, o.Records, o.ValueBytes = b.connections, b.records, b.valueBytes
		o.Seed, o.WarmUp, o.Progress = b.seed, b.warmUp, bar.show
		c, err := load.Compare(endAtSignal(cmd.Context(), func() {}), o)
		if err != nil {
			return err
		}
		bar.clear()
		if err := a.printComparison(&c); err != nil {
			return err
		}
		if !c.Pass {
			return errGoalMissed
		}
		return nil
	}
	f := cmd.Flags()
	f.StringVar(&echo, "echo", "", "`URL` of a bench-echo")
	f.IntVar(&o.Rounds, "rounds", 5, "rounds; the median decides")
	f.DurationVar(&o.RoundDuration, "round-duration", 6*time.Second, "time measured for each of a round's four parts")
	f.Float64Var(&o.PutGoal, "put-goal", defaultPutGoal, "least median ratio of PUT")
	f.Float64Var(&o.GetGoal, "get-goal", defaultGetGoal, "least median ratio of GET")
	b.add(cmd, 500*time.Millisecond)
	return cmd
}

func (a *app) printComparison(c *load.Comparison) error {
	if a.output == outputJSON {
		return a.printJSON(c)
	}
	if err := a.printLine(bold, "%d connections, %d records of %d bytes, operations a second:", c.Connections, c.Records, c.ValueBytes); err != nil {
		return err
	}
	t := newTable("ROUND", "ECHO PUT", "STORE PUT", "RATIO", "ECHO GET", "STORE GET", "RATIO")
	line := func(name string, s style, r load.Round) {
		n := func(f float64) string { return strconv.FormatFloat(f, 'f', 0, 64) }
		t.add(s, name, n(r.EchoPut), n(r.StorePut), fmt.Sprintf("%.3f", r.PutRatio), n(r.EchoGet), n(r.StoreGet), fmt.Sprintf("%.3f", r.GetRatio))
	}
	for i, r := range c.Rounds {
		line(strconv.Itoa(i+1), plain, r)
	}
	line("median", bold, c.Median)
	if err := a.printTable(t); err != nil {
		return err
	}
	if c.Errors > 0 {
		if err := a.printLine(red, "%d requests failed, so the figures mean little; first: %s", c.Errors, dash(c.FirstError)); err != nil {
			return err
		}
	}
	verdict, s := "PASS", green
	if !c.Pass {
		verdict, s = "FAIL", red
	}
	return a.printLine(s, "%s: PUT %.3f (goal %.3f), GET %.3f (goal %.3f)", verdict, c.Median.PutRatio, c.PutGoal, c.Median.GetRatio, c.GetGoal)
}
