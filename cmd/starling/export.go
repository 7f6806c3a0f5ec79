package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"starling/client"
)

// exportPart is the file that an export is written to until it is whole. What the
// export is of is part of the name: no other goes on with it.
func exportPart(path, bucket, prefix string) string {
	if prefix != "" {
		sum := sha256.Sum256([]byte(prefix))
		bucket += "-" + hex.EncodeToString(sum[:4])
	}
	return path + "." + bucket + ".part"
}

func newExportCommand(a *app) *cobra.Command {
	var o client.KeysOptions
	var level string
	cmd := &cobra.Command{
		Use:   "export BUCKET [FILE]",
		Short: "Write the keys and values of a bucket as lines of JSON",
		Long: `Write a line for each key of a bucket, in byte order, to FILE or to standard
output, in the form that import reads: key and value (key_base64, value_base64
where they are not UTF-8), content_type, meta, and for a value that expires the
ttl that is left. A key with siblings has a line for each, the one that was
written last at the end: an import keeps that one.

FILE is complete when it is there. Until then the lines are in FILE.BUCKET.part; an
export that was ended goes on behind them when it is called again. The keys come
page by page: one that is written or deleted meanwhile may be in the file or not.`,
		Example: `  starling export carts carts.ndjson
  starling export carts --prefix user/ | jq -r .key`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 2 {
				return nil
			}
			return exactly("BUCKET")(cmd, args)
		},
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if level != "" {
			if err := checkLevel(level, false); err != nil {
				return err
			}
		}
		o.Level, o.Timeout, o.Values = client.Level(level), a.timeout, true
		ctx := endAtSignal(cmd.Context(), func() {})
		if len(args) == 1 || args[1] == "-" {
			return a.exportTo(ctx, args[0], &o, a.out)
		}
		return a.exportFile(ctx, args[0], &o, args[1])
	}
	f := cmd.Flags()
	f.StringVar(&o.Prefix, "prefix", "", "what the keys begin with")
	f.StringVar(&level, "consistency", "", "consistency `level`: one, two, three, quorum, all (default quorum)")
	complete(cmd, "consistency", levels[:len(levels)-1]...)
	return cmd
}

// exportFile exports to a file that gets its name when it is whole.
func (a *app) exportFile(ctx context.Context, bucket string, o *client.KeysOptions, path string) error {
	part := exportPart(path, bucket, o.Prefix)
	f, err := os.OpenFile(part, os.O_RDWR|os.O_CREATE, 0o666)
	if err != nil {
		return usageError{err}
	}
	if o.After, err = resumeExport(f); err == nil {
		if o.After != "" {
			a.note("going on behind %q; remove %s to begin anew", o.After, part)
		}
		err = a.exportTo(ctx, bucket, o, f)
	}
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(part, path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// resumeExport cuts a part of an export behind the last key that is whole in it,
// and gives that key. The last key there may lack siblings, so it is written
// again.
func resumeExport(f *os.File) (after string, err error) {
	r := newLineReader(f, 0, 0)
	var last string // of the lines up to offset; its own begin at begins
	var offset, begins int64
	for {
		line, err := r.raw()
		if errors.Is(err, io.EOF) { // the rest is no line
			break
		}
		if err != nil {
			return "", fmt.Errorf("%s: %w", f.Name(), err)
		}
		op, err := parseRecord(bytes.TrimSpace(line))
		if err != nil {
			return "", fmt.Errorf("%s is no part of an export: %w", f.Name(), err)
		}
		if op.Key != last || offset == 0 {
			after, last, begins = last, op.Key, offset
		}
		offset += int64(len(line))
	}
	if err := f.Truncate(begins); err != nil {
		return "", err
	}
	_, err = f.Seek(begins, io.SeekStart)
	return after, err
}

// exportTo writes the lines.
func (a *app) exportTo(ctx context.Context, bucket string, o *client.KeysOptions, out io.Writer) error {
	c, err := client.New(client.Options{Endpoints: a.endpoints()})
	if err != nil {
		return err
	}
	defer c.Close()
	w := bufio.NewWriterSize(out, 256<<10)
	bar := a.newBar()
	defer bar.clear()
	keys, several, last, shown := 0, 0, "", time.Time{}
	for key, failed := range c.Keys(ctx, bucket, o) {
		if err = failed; err == nil {
			err = context.Cause(ctx)
		}
		if err == nil {
			err = writeRecords(w, &key, time.Now())
		}
		if err != nil {
			break
		}
		keys, last = keys+1, key.Name
		if len(key.Value.Siblings) > 0 {
			several++
		}
		if now := time.Now(); now.Sub(shown) >= listTick {
			bar.draw(listLine(keys, last))
			shown = now
		}
	}
	err = errors.Join(err, w.Flush())
	bar.clear()
	if err == nil && out != a.out {
		a.note("%s exported", count(int64(keys), "key", "keys"))
	}
	if several > 0 {
		a.note("%s siblings: each is a line, the newest the last", count(int64(several), "key has", "keys have"))
	}
	if err != nil && keys > 0 {
		err = fmt.Errorf("%w; %s written, up to %q", err, count(int64(keys), "key was", "keys were"), last)
	}
	return err
}

// writeRecords writes the lines of a key.
func writeRecords(w io.Writer, key *client.Key, now time.Time) error {
	v := key.Value
	siblings := v.Siblings
	if len(siblings) == 0 {
		siblings = []client.Sibling{{Data: v.Data, ContentType: v.ContentType, Meta: v.Meta, Modified: v.Modified, Expires: v.Expires}}
	}
	siblings = slices.SortedStableFunc(slices.Values(siblings), func(x, y client.Sibling) int { return x.Modified.Compare(y.Modified) })
	for _, s := range siblings {
		doc := recordDoc{ContentType: s.ContentType, Meta: s.Meta}
		doc.Key, doc.KeyBase64 = eitherText([]byte(key.Name))
		doc.Value, doc.ValueBase64 = eitherText(s.Data)
		if doc.ContentType == defaultContentType {
			doc.ContentType = ""
		}
		if !s.Expires.IsZero() {
			doc.TTL = max(time.Millisecond, s.Expires.Sub(now).Round(time.Millisecond)).String()
		}
		e := json.NewEncoder(w)
		e.SetEscapeHTML(false)
		if err := e.Encode(doc); err != nil {
			return err
		}
	}
	return nil
}
