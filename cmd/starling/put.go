package main

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"starling/client"
)

// maxInputBytes bounds a value read from a file or standard input. The
// cluster's own bound is lower by default, and said by its answer.
const maxInputBytes = 256 << 20

func newPutCommand(a *app) *cobra.Command {
	var quorum quorumFlags
	var o client.PutOptions
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "put BUCKET KEY VALUE|-|@FILE",
		Short: "Write a value",
		Long: `Write a value: the argument itself, standard input for -, or the content of a
file for @FILE.

A put supersedes what its --context has seen. Without one it supersedes nothing
and becomes a sibling of what is there, or what the bucket's conflicts make of the
two; get -o json shows the context. With -o json the answer says what became of the put at each replica.`,
		Example: `  starling put carts alice '2 apples'
  tar c photos | starling put backups photos - --content-type application/x-tar
  starling put carts alice @cart.json --consistency all --ttl 24h
  starling put carts alice '3 apples' --context "$(starling get carts alice -o json | jq -r .context)"`,
		Args: exactly("BUCKET", "KEY", "VALUE|-|@FILE"),
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) (err error) {
		if o.Consistency, err = quorum.consistency(cmd.Flags(), true); err != nil {
			return err
		}
		if o.TTL < 0 || cmd.Flags().Changed("ttl") && o.TTL == 0 {
			return usagef("--ttl %v: it must be positive", o.TTL)
		}
		o.Timeout = a.timeout
		o.Receipt = asJSON || a.output == outputJSON
		data, err := readInput(a.in, args[2])
		if err != nil {
			return err
		}
		c, err := a.dial()
		if err != nil {
			return err
		}
		defer c.Close()
		ctx, cancel := a.within(cmd.Context())
		defer cancel()
		w, err := c.Put(ctx, args[0], args[1], data, &o)
		if err != nil {
			return err
		}
		return a.printWritten("stored", args[0], args[1], w, asJSON)
	}
	f := cmd.Flags()
	quorum.add(cmd, false, true)
	f.StringVar(&o.Context, "context", "", "`token` of what this write supersedes")
	f.StringVar(&o.ContentType, "content-type", "", "media `type` to keep with the value")
	f.StringToStringVar(&o.Meta, "meta", nil, "`name=value` to keep with the value; repeatable")
	f.DurationVar(&o.TTL, "ttl", 0, "how long the value lives, for example 1h (default for ever)")
	f.StringVar(&o.IdempotencyKey, "idempotency-key", "", "name of this write: two with the same name and value are one (default drawn at random)")
	f.BoolVar(&asJSON, "json", false, "the same as -o json")
	return cmd
}

// readInput gives the value that an argument stands for.
func readInput(stdin io.Reader, arg string) ([]byte, error) {
	source := stdin
	switch {
	case arg == "-":
	case strings.HasPrefix(arg, "@"):
		f, err := os.Open(arg[1:])
		if err != nil {
			return nil, usageError{err}
		}
		defer func() { _ = f.Close() }()
		source = f
	default:
		return []byte(arg), nil
	}
	data, err := io.ReadAll(io.LimitReader(source, maxInputBytes+1))
	if err != nil {
		return nil, fmt.Errorf("reading the value: %w", err)
	}
	if len(data) > maxInputBytes {
		return nil, usagef("the value has more than %d bytes", maxInputBytes)
	}
	return data, nil
}

// writtenDoc is the JSON of a put or a delete that was done.
type writtenDoc struct {
	Bucket      string `json:"bucket"`
	Key         string `json:"key"`
	Context     string `json:"context"`
	ETag        string `json:"etag,omitempty"`
	Acked       int    `json:"acked"`
	Hinted      int    `json:"hinted"`
	Required    int    `json:"required"`
	Coordinator string `json:"coordinator"`
	// Dot and Replicas are of the receipt of a put.
	Dot      string                  `json:"dot,omitempty"`
	Replicas []client.ReplicaReceipt `json:"replicas,omitempty"`
}

func (a *app) printWritten(verb, bucket, key string, w *client.Written, asJSON bool) error {
	if !asJSON && a.output != outputJSON {
		return a.printLine(plain, "%s %s/%s (%s, coordinator %s)", verb, bucket, key, w.Replicas, w.Coordinator)
	}
	n := replicaCounts(w.Replicas)
	doc := writtenDoc{
		Bucket: bucket, Key: key, Context: w.Context, ETag: w.ETag,
		Acked: n["acked"], Hinted: n["hinted"], Required: n["required"], Coordinator: w.Coordinator,
	}
	if w.Receipt != nil {
		doc.Dot, doc.Replicas = w.Receipt.Dot, w.Receipt.Replicas
	}
	return a.printJSON(doc)
}

// replicaCounts reads "acked=2 hinted=1 required=2".
func replicaCounts(s string) map[string]int {
	counts := make(map[string]int)
	for _, field := range strings.Fields(s) {
		name, value, _ := strings.Cut(field, "=")
		if n, err := strconv.Atoi(value); err == nil {
			counts[name] = n
		}
	}
	return counts
}
