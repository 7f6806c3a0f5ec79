package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"github.com/spf13/cobra"

	"starling/client"
)

// newHintsCommand is about the writes that nodes keep for others.
func newHintsCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "hints",
		Short: "Show or deliver the writes that nodes keep for others",
	}
	list := &cobra.Command{
		Use:   "ls",
		Short: "List the hints of all members, by holder and target",
		Long: `Ask every member for the hints that it keeps, and list them by the node that
holds them and the node that they are for. STATE is waiting while the target is
down, draining while hints are on their way, and idle when there is nothing to
do.

A member that is not alive is passed over with a note; what it holds is not in
the list. The exit code is 1 where a member that is alive does not answer.`,
		Example: `  starling hints ls
  starling hints ls -o json | jq .hints`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.listHints(cmd.Context()) },
	}
	var target string
	replay := &cobra.Command{
		Use:   "replay",
		Short: "Ask all members to deliver their hints now",
		Long: `Ask every member to deliver the hints that it keeps, for one node or for all,
without waiting for the next look at the target. Hints are delivered unaided
too; asking twice does no harm, and a target that is down stays so. PENDING is
how many hints there were when the member was asked.`,
		Example: `  starling hints replay
  starling hints replay --target n3`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.replayHints(cmd.Context(), target) },
	}
	replay.Flags().StringVar(&target, "target", "", "the `node` to deliver to (default all)")
	a.completeMembers(replay, "target")
	cmd.AddCommand(list, replay)
	return cmd
}

// completeMembers offers the members' names for a flag in shell completion.
func (a *app) completeMembers(cmd *cobra.Command, flag string) {
	err := cmd.RegisterFlagCompletionFunc(flag, func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		return a.memberNames(cmd.Context()), cobra.ShellCompDirectiveNoFileComp
	})
	if err != nil {
		panic(err) // the flag does not exist: no command line can work
	}
}

// memberNames are offered in shell completion; none where nobody answers.
func (a *app) memberNames(ctx context.Context) (names []string) {
	var doc client.Cluster
	if a.ask(ctx, "/v1/cluster", &doc) != nil {
		return nil
	}
	for _, m := range byName(doc.Members) {
		names = append(names, m.Name)
	}
	return names
}

// askAtOnce bounds the members that are asked at a time.
const askAtOnce = 16

// memberAnswer is what one member answered.
type memberAnswer[T any] struct {
	member client.Member
	doc    T
	err    error
}

// askMembers sends the same request to every member that has not left for
// good.
func askMembers[T any](ctx context.Context, a *app, method, path string) ([]memberAnswer[T], error) {
	var cluster client.Cluster
	if err := a.ask(ctx, "/v1/cluster", &cluster); err != nil {
		return nil, err
	}
	return askThese[T](ctx, a, remaining(cluster.Members), method, path, nil), nil
}

// askThese sends the same request, with a body unless that is empty, to some
// members.
func askThese[T any](ctx context.Context, a *app, members []client.Member, method, path string, body []byte) []memberAnswer[T] {
	ctx, cancel := a.within(ctx)
	defer cancel()
	answers := make([]memberAnswer[T], len(members))
	eachMember(members, func(i int, m client.Member) {
		answers[i].member = m
		answers[i].err = askWith(ctx, method, m.HTTP, path, body, &answers[i].doc)
	})
	return answers
}

// absent tells of the members that did not answer. It is an error where one
// of them is alive, or where none answered.
func absent[T any](a *app, answers []memberAnswer[T]) ([]unanswered, error) {
	silent := []unanswered{}
	var incomplete, last error
	for _, r := range answers {
		if r.err == nil {
			continue
		}
		last = fmt.Errorf("%s: %w", r.member.Name, r.err)
		silent = append(silent, unanswered{Node: r.member.Name, Alive: r.member.Alive, Error: message(r.err)})
		if r.member.Alive { // its error is its own, not that of the whole command
			incomplete = fmt.Errorf("%s did not answer: %s", r.member.Name, message(r.err))
			continue
		}
		a.note("%s is not alive and was passed over", r.member.Name)
	}
	if len(silent) == len(answers) {
		return silent, last
	}
	return silent, incomplete
}

// unanswered is a member that could not be asked.
type unanswered struct {
	Node  string `json:"node"`
	Alive bool   `json:"alive"`
	Error string `json:"error"`
}

// hintsDoc is the JSON of hints ls.
type hintsDoc struct {
	Hints      int64          `json:"hints"`
	Bytes      int64          `json:"bytes"`
	Holders    []client.Hints `json:"holders"`
	Unanswered []unanswered   `json:"unanswered"`
}

func (a *app) listHints(ctx context.Context) error {
	answers, err := askMembers[client.Hints](ctx, a, http.MethodGet, "/v1/hints")
	if err != nil {
		return err
	}
	doc := hintsDoc{Holders: []client.Hints{}}
	var failed error
	doc.Unanswered, failed = absent(a, answers)
	for _, r := range answers {
		if r.err == nil {
			doc.Holders = append(doc.Holders, r.doc)
			doc.Hints += r.doc.Hints
			doc.Bytes += r.doc.Bytes
		}
	}
	if a.output == outputJSON {
		return errors.Join(a.printJSON(doc), failed)
	}
	return errors.Join(a.printHints(&doc), failed)
}

func (a *app) printHints(doc *hintsDoc) error {
	t := newTable("HOLDER", "TARGET", "HINTS", "BYTES", "STATE", "LAST ERROR")
	for _, h := range doc.Holders {
		for _, target := range h.Targets {
			if target.Hints == 0 && target.LastError == "" {
				continue
			}
			line := plain
			if target.LastError != "" {
				line = amber
			}
			t.add(line, h.Node, target.Target, strconv.FormatInt(target.Hints, 10), strconv.FormatInt(target.Bytes, 10),
				target.State, dash(target.LastError))
		}
	}
	if err := a.printTable(t); err != nil {
		return err
	}
	return a.printLine(plain, "%d hints of %d bytes at %d members", doc.Hints, doc.Bytes, len(doc.Holders))
}

// replayDoc is the JSON of hints replay.
type replayDoc struct {
	Pending    int64          `json:"pending"`
	Holders    []replayHolder `json:"holders"`
	Unanswered []unanswered   `json:"unanswered"`
}

type replayHolder struct {
	Node    string `json:"node"`
	Pending int64  `json:"pending"`
}

// problemNoNode is the type of the answer of a member that knows no such
// target and keeps nothing for it.
const problemNoNode = "/problems/no-such-node"

func (a *app) replayHints(ctx context.Context, target string) error {
	path := "/v1/hints/replay"
	if target != "" {
		path += "?target=" + url.QueryEscape(target)
	}
	answers, err := askMembers[replayHolder](ctx, a, http.MethodPost, path)
	if err != nil {
		return err
	}
	if err := forgiveStrangers(answers); err != nil {
		return err
	}
	doc := replayDoc{Holders: []replayHolder{}}
	var failed error
	doc.Unanswered, failed = absent(a, answers)
	for _, r := range answers {
		if r.err == nil {
			doc.Holders = append(doc.Holders, replayHolder{Node: r.member.Name, Pending: r.doc.Pending})
			doc.Pending += r.doc.Pending
		}
	}
	if a.output == outputJSON {
		return errors.Join(a.printJSON(doc), failed)
	}
	return errors.Join(a.printReplay(&doc), failed)
}

// forgiveStrangers makes "no such node" an answer of nothing pending, unless
// that is all that the members say: a node that has left the map is known to
// those alone that keep something for it.
func forgiveStrangers(answers []memberAnswer[replayHolder]) error {
	known := false
	var stranger error
	for i := range answers {
		var p *client.Problem
		switch r := &answers[i]; {
		case r.err == nil:
			known = true
		case errors.As(r.err, &p) && p.Type == problemNoNode:
			stranger, r.err = r.err, nil
		}
	}
	if known {
		return nil
	}
	return stranger
}

func (a *app) printReplay(doc *replayDoc) error {
	t := newTable("HOLDER", "PENDING")
	for _, h := range doc.Holders {
		t.add(plain, h.Node, strconv.FormatInt(h.Pending, 10))
	}
	if err := a.printTable(t); err != nil {
		return err
	}
	return a.printLine(plain, "%d hints to deliver", doc.Pending)
}
