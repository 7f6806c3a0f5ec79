package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"starling/client"
)

// listTick is how often the progress of a list is shown.
const listTick = 100 * time.Millisecond

func newLsCommand(a *app) *cobra.Command {
	var o client.KeysOptions
	var level string
	cmd := &cobra.Command{
		Use:   "ls BUCKET",
		Short: "List the keys of a bucket",
		Long: `List the keys of a bucket in byte order, one a line; with --values a table with
the beginning of each value. Characters that a terminal cannot show are
replaced; -o json has the keys as they are.

The keys come page by page while the command runs: one that is written or deleted
meanwhile may be listed or not. As many owners of every part of the bucket are
read as --consistency says; nodes that stand in for owners are not asked.`,
		Example: `  starling ls carts
  starling ls carts --prefix user/ --limit 20
  starling ls carts --after user/42 --values
  starling ls carts -o json | jq -r '.keys[].key'`,
		Args: exactly("BUCKET"),
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if level != "" {
			if err := checkLevel(level, false); err != nil {
				return err
			}
		}
		switch {
		case o.Limit < 0:
			return usagef("--limit %d: 1 or more is allowed, 0 for all", o.Limit)
		case cmd.Flags().Changed("r") && o.R < 1:
			return usagef("--r %d: 1 up to the number of replicas is allowed", o.R)
		}
		o.Level, o.Timeout = client.Level(level), a.timeout
		return a.listKeys(cmd.Context(), args[0], &o)
	}
	f := cmd.Flags()
	f.StringVar(&o.Prefix, "prefix", "", "what the keys begin with")
	f.StringVar(&o.After, "after", "", "list the keys behind this one")
	f.IntVar(&o.Limit, "limit", 0, "the most keys; 0 for all")
	f.BoolVar(&o.Values, "values", false, "list the values too")
	f.StringVar(&level, "consistency", "", "consistency `level`: one, two, three, quorum, all (default quorum)")
	f.IntVar(&o.R, "r", 0, "owners of each part that must answer; wins over --consistency")
	complete(cmd, "consistency", levels[:len(levels)-1]...)
	return cmd
}

// keysPrinter prints keys as they come.
type keysPrinter interface {
	begin() error
	add(k *client.Key) error
	// end is called however far it came.
	end() error
}

func (a *app) listKeys(ctx context.Context, bucket string, o *client.KeysOptions) error {
	c, err := a.dial()
	if err != nil {
		return err
	}
	defer c.Close()
	var p keysPrinter = &keyLines{app: a}
	switch {
	case a.output == outputJSON:
		p = &keysJSON{app: a, bucket: bucket}
	case o.Values:
		p = &keysTable{app: a}
	}
	bar := a.newListBar()
	defer bar.clear()
	n, last, shown := 0, "", time.Time{}
	err = p.begin()
	for key, failed := range c.Keys(ctx, bucket, o) {
		if err == nil {
			err = failed
		}
		if err == nil {
			err = p.add(&key)
		}
		if err != nil {
			break
		}
		n, last = n+1, key.Name
		if now := time.Now(); now.Sub(shown) >= listTick {
			bar.draw(listLine(n, last))
			shown = now
		}
	}
	if bad := p.end(); err == nil {
		err = bad
	}
	if err != nil && n > 0 {
		err = fmt.Errorf("%w; %s listed, go on with --after %q", err, count(int64(n), "key was", "keys were"), last)
	}
	return err
}

// newListBar is a bar that is not shown where the keys themselves are.
func (a *app) newListBar() *bar {
	b := a.newBar()
	b.shown = b.shown && !isTerminal(a.out)
	return b
}

func listLine(n int, last string) string {
	const most = 40
	text := printable(last)
	if utf8.RuneCountInString(text) > most {
		text = string([]rune(text)[:most]) + "…"
	}
	return fmt.Sprintf("%d keys, up to %s", n, text)
}

// keyLines prints a key a line.
type keyLines struct{ *app }

func (p *keyLines) begin() error            { return nil }
func (p *keyLines) add(k *client.Key) error { return p.printLine(plain, "%s", k.Name) }
func (p *keyLines) end() error              { return nil }

// keysTable prints keys with the beginnings of their values, as many at a time
// as have one width of columns.
type keysTable struct {
	*app
	rows *table
	next bool // rows is not the first part
}

// tableRows is how many rows are aligned with each other.
const tableRows = 100

func (p *keysTable) begin() error {
	p.rows = newTable("KEY", "BYTES", "TYPE", "MODIFIED", "VALUE")
	return nil
}

func (p *keysTable) add(k *client.Key) error {
	v := k.Value
	if n := len(v.Siblings); n > 0 {
		p.rows.add(amber, k.Name, "-", "-", "-", fmt.Sprintf("%d concurrent values", n))
	} else {
		p.rows.add(plain, k.Name, strconv.Itoa(len(v.Data)), dash(v.ContentType), dash(formatTime(v.Modified)), preview(v.Data))
	}
	if len(p.rows.rows) < tableRows {
		return nil
	}
	return p.flush()
}

func (p *keysTable) end() error {
	if p.next && len(p.rows.rows) == 0 {
		return nil
	}
	return p.flush()
}

func (p *keysTable) flush() error {
	full := p.rows
	p.rows, p.next = &table{}, true
	return p.printTable(full)
}

// keysJSON prints one document, of which the keys are written as they come.
type keysJSON struct {
	*app
	bucket string
	some   bool
}

// listedDoc is a key in it; KeyBase64 takes the place of Key where that is not
// UTF-8.
type listedDoc struct {
	Key         string            `json:"key,omitempty"`
	KeyBase64   string            `json:"key_base64,omitempty"`
	Context     string            `json:"context,omitempty"`
	ContentType string            `json:"content_type,omitempty"`
	Modified    string            `json:"modified,omitempty"`
	Expires     string            `json:"expires,omitempty"`
	Meta        map[string]string `json:"meta,omitempty"`
	Encoding    string            `json:"encoding,omitempty"`
	Value       *string           `json:"value,omitempty"`
	Siblings    []siblingDoc      `json:"siblings,omitempty"`
}

func (p *keysJSON) begin() error {
	name, err := json.Marshal(p.bucket)
	if err == nil {
		_, err = fmt.Fprintf(p.out, "{\n  \"bucket\": %s,\n  \"keys\": [", name)
	}
	return err
}

func (p *keysJSON) add(k *client.Key) error {
	line, err := json.Marshal(newListedDoc(k))
	if err != nil {
		return err
	}
	separator := ",\n    "
	if !p.some {
		p.some, separator = true, "\n    "
	}
	_, err = fmt.Fprintf(p.out, "%s%s", separator, line)
	return err
}

func newListedDoc(k *client.Key) (d listedDoc) {
	encoding, text := encodeText([]byte(k.Name))
	if encoding == "base64" {
		d.KeyBase64 = text
	} else {
		d.Key = text
	}
	v := k.Value
	if v == nil {
		return d
	}
	d.Context, d.Siblings = v.Context, siblingDocs(v.Siblings)
	if len(v.Siblings) == 0 {
		encoding, text := encodeText(v.Data)
		d.ContentType, d.Modified, d.Expires, d.Meta = v.ContentType, formatTime(v.Modified), formatTime(v.Expires), v.Meta
		d.Encoding, d.Value = encoding, &text
	}
	return d
}

func (p *keysJSON) end() error {
	if p.some {
		_, err := fmt.Fprint(p.out, "\n  ]\n}\n")
		return err
	}
	_, err := fmt.Fprint(p.out, "]\n}\n")
	return err
}
