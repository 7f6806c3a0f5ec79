package main

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"starling/client"
)

func newGetCommand(a *app) *cobra.Command {
	var quorum quorumFlags
	var o client.GetOptions
	var asJSON, previous bool
	cmd := &cobra.Command{
		Use:   "get BUCKET KEY",
		Short: "Read a value",
		Long: `Read a value and write its bytes, and nothing else, to standard output.

A key with concurrent values is answered with all of them, as a table; a note on
standard error has the context that a put needs to replace them. The exit code
is 1 where the key has no value, and 5 where --context asks for more than the
replicas in reach have.

In a bucket with --conflicts lww, --previous shows what lost against the newest
value, as a table, newest first: the last three at most, each for ten minutes
after the write that won over it.`,
		Example: `  starling get carts alice
  starling get carts alice --consistency one
  starling get carts alice -o json
  starling get sessions alice --previous`,
		Args: exactly("BUCKET", "KEY"),
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) (err error) {
		if o.Consistency, err = quorum.consistency(cmd.Flags(), false); err != nil {
			return err
		}
		o.Timeout = a.timeout
		c, err := a.dial()
		if err != nil {
			return err
		}
		defer c.Close()
		ctx, cancel := a.within(cmd.Context())
		defer cancel()
		p := valuePrinter{app: a, bucket: args[0], key: args[1], json: asJSON || a.output == outputJSON}
		if previous {
			lost, err := c.Previous(ctx, args[0], args[1], &o)
			if err != nil {
				return err
			}
			return p.printPrevious(lost)
		}
		v, err := c.Get(ctx, args[0], args[1], &o)
		if several, ok := client.Siblings(err); ok {
			v, err = several, nil
		}
		return p.print(v, err)
	}
	quorum.add(cmd, true, false)
	cmd.Flags().StringVar(&o.Context, "context", "", "`token` of an earlier answer: ask for nothing older than it")
	cmd.Flags().BoolVar(&previous, "previous", false, "show what lost against the newest value, in a bucket with conflicts lww")
	cmd.Flags().BoolVar(&asJSON, "json", false, "the same as -o json")
	return cmd
}

// previousDoc is the JSON of what lost.
type previousDoc struct {
	Bucket      string       `json:"bucket"`
	Key         string       `json:"key"`
	Context     string       `json:"context"`
	Previous    []siblingDoc `json:"previous"`
	Received    int          `json:"received"`
	Hinted      int          `json:"hinted"` // of those received
	Required    int          `json:"required"`
	Coordinator string       `json:"coordinator"`
}

func (p *valuePrinter) printPrevious(lost *client.Previous) error {
	if !p.json {
		return p.printTable(siblingsTable(lost.Values))
	}
	n := replicaCounts(lost.Replicas)
	return p.printJSON(previousDoc{
		Bucket: p.bucket, Key: p.key, Context: lost.Context, Previous: append([]siblingDoc{}, siblingDocs(lost.Values)...),
		Received: n["acked"] + n["hinted"], Hinted: n["hinted"], Required: n["required"], Coordinator: lost.Coordinator,
	})
}

// valueDoc is the JSON of a get.
type valueDoc struct {
	Bucket      string            `json:"bucket"`
	Key         string            `json:"key"`
	Found       bool              `json:"found"`
	Context     string            `json:"context"`
	ETag        string            `json:"etag,omitempty"`
	ContentType string            `json:"content_type,omitempty"`
	Modified    string            `json:"modified,omitempty"`
	Expires     string            `json:"expires,omitempty"`
	Meta        map[string]string `json:"meta,omitempty"`
	Encoding    string            `json:"encoding,omitempty"`
	Value       *string           `json:"value,omitempty"`
	Siblings    []siblingDoc      `json:"siblings,omitempty"`
	Received    int               `json:"received,omitempty"`
	Hinted      int               `json:"hinted,omitempty"` // of those received
	Required    int               `json:"required,omitempty"`
	Coordinator string            `json:"coordinator,omitempty"`
}

type siblingDoc struct {
	Dot         string            `json:"dot"`
	ContentType string            `json:"content_type"`
	Modified    string            `json:"modified"`
	Expires     string            `json:"expires,omitempty"`
	Meta        map[string]string `json:"meta,omitempty"`
	Encoding    string            `json:"encoding"`
	Value       string            `json:"value"`
}

// valuePrinter prints what a read came to.
type valuePrinter struct {
	*app
	bucket, key string
	json        bool
}

func (p *valuePrinter) print(v *client.Value, err error) error {
	var absent *client.NotFoundError
	switch {
	case errors.As(err, &absent):
		if p.json {
			if jerr := p.printJSON(valueDoc{Bucket: p.bucket, Key: p.key, Context: absent.Context}); jerr != nil {
				return jerr
			}
		}
		return fmt.Errorf("%s/%s: not found", p.bucket, p.key)
	case err != nil:
		return err
	case p.json:
		return p.printJSON(p.doc(v))
	case len(v.Siblings) > 0:
		return p.printSiblings(v)
	}
	_, err = p.out.Write(v.Data)
	return err
}

func (p *valuePrinter) doc(v *client.Value) valueDoc {
	n := replicaCounts(v.Replicas)
	d := valueDoc{
		Bucket: p.bucket, Key: p.key, Found: true, Context: v.Context, ETag: v.ETag,
		Received: n["acked"] + n["hinted"], Hinted: n["hinted"], Required: n["required"], Coordinator: v.Coordinator,
	}
	if len(v.Siblings) == 0 {
		encoding, text := encodeText(v.Data)
		d.Encoding, d.Value = encoding, &text
		d.ContentType, d.Meta = v.ContentType, v.Meta
		d.Modified, d.Expires = formatTime(v.Modified), formatTime(v.Expires)
	}
	d.Siblings = siblingDocs(v.Siblings)
	return d
}

func siblingDocs(siblings []client.Sibling) (docs []siblingDoc) {
	for _, s := range siblings {
		doc := siblingDoc{Dot: s.Dot, ContentType: s.ContentType, Modified: formatTime(s.Modified), Expires: formatTime(s.Expires), Meta: s.Meta}
		doc.Encoding, doc.Value = encodeText(s.Data)
		docs = append(docs, doc)
	}
	return docs
}

func siblingsTable(siblings []client.Sibling) *table {
	t := newTable("DOT", "MODIFIED", "BYTES", "TYPE", "VALUE")
	for _, s := range siblings {
		t.add(plain, s.Dot, formatTime(s.Modified), strconv.Itoa(len(s.Data)), s.ContentType, preview(s.Data))
	}
	return t
}

func (p *valuePrinter) printSiblings(v *client.Value) error {
	if err := p.printTable(siblingsTable(v.Siblings)); err != nil {
		return err
	}
	p.note("%d concurrent values; to replace them all: starling put %s %s VALUE --context %s", len(v.Siblings), p.bucket, p.key, v.Context)
	return nil
}

// preview is the beginning of a value on one line.
func preview(data []byte) string {
	const previewBytes = 48
	text := strconv.Quote(string(data[:min(len(data), previewBytes)]))
	if len(data) > previewBytes {
		text += "…"
	}
	return text
}
