package main

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"starling/client"
)

// Bounds of the batches of an import.
const (
	maxImportLines = 500
	maxImportBytes = 1 << 20
	maxImporters   = 64
	// importTimeout is the deadline of a batch where --timeout gives none, and
	// importAttempts how often an operation is sent.
	importTimeout  = 10 * time.Second
	importAttempts = 12
)

func newImportCommand(a *app) *cobra.Command {
	var o importOptions
	var quorum quorumFlags
	cmd := &cobra.Command{
		Use:   "import BUCKET [FILE]",
		Short: "Write many keys from lines of JSON",
		Long: `Write a key for each line of FILE, or of standard input: JSON objects with key,
value, and, where wanted, content_type, meta and ttl (from when it is written).
Keys and values that are not UTF-8 are given as key_base64 and value_base64.

In a bucket of counters there is nothing to import: a value cannot be put there.

A value takes the place of what a read of the key sees just before (in a bucket
that was empty, only keys that the import has met before are read). So the same
file, imported twice, leaves one value for each key; where a key is in several
lines, that of the last one stays. Only what others write meanwhile can become a
sibling. Lines are sent in batches of up to 500 or 1 MiB, several at once.

An import of a file can be ended at any time and goes on when it is called
again: FILE.import-state, or --state, has the place up to which all lines are
acknowledged, and goes away when the import is complete. A line that is sent
again is the same put, and changes nothing. An import stops at the first line
that cannot be written, after those before it.`,
		Example: `  starling import carts carts.ndjson
  starling export carts | starling import carts-copy`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 2 {
				return nil
			}
			return exactly("BUCKET")(cmd, args)
		},
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) (err error) {
		if o.batch.Consistency, err = quorum.consistency(cmd.Flags(), true); err != nil {
			return err
		}
		if o.concurrency < 1 || o.concurrency > maxImporters {
			return usagef("--concurrency %d: 1 to %d are allowed", o.concurrency, maxImporters)
		}
		o.batch.Timeout = importTimeout
		if a.timeout > 0 {
			o.batch.Timeout = a.timeout
		}
		o.bucket = args[0]
		if len(args) == 1 || args[1] == "-" {
			if o.statePath != "" {
				return usagef("--state: standard input cannot be gone on with; give a FILE")
			}
			return a.importFrom(cmd.Context(), o, a.in, nil)
		}
		f, err := os.Open(args[1])
		if err != nil {
			return usageError{err}
		}
		defer func() { _ = f.Close() }() // only read from
		info, err := f.Stat()
		switch {
		case err != nil:
			return err
		case info.IsDir():
			return usagef("%s is a directory", args[1])
		case !info.Mode().IsRegular() && o.statePath != "":
			return usagef("--state: %s cannot be gone on with, it is no regular file", args[1])
		case !info.Mode().IsRegular(): // a pipe: <(zcat lines.gz)
			return a.importFrom(cmd.Context(), o, f, nil)
		case o.statePath == "":
			o.statePath = args[1] + ".import-state"
		}
		return a.importFrom(cmd.Context(), o, f, f)
	}
	f := cmd.Flags()
	f.IntVar(&o.concurrency, "concurrency", 4, "batches under way at once")
	f.StringVar(&o.statePath, "state", "", "`file` that remembers how far the import is (default FILE.import-state)")
	quorum.add(cmd, true, true)
	return cmd
}

// importOptions are those of one import.
type importOptions struct {
	bucket      string
	batch       client.BatchOptions
	concurrency int
	statePath   string // empty: none is kept
}

// importFrom imports lines. file is nil where the input is not one.
func (a *app) importFrom(ctx context.Context, o importOptions, input io.Reader, file *os.File) error {
	imp := &importer{opts: o, state: newImportState(o.bucket), file: file}
	var size int64
	if file != nil {
		var err error
		if imp.state, err = loadImportState(o.statePath, o.bucket, file); err != nil {
			return err
		}
		if _, err = file.Seek(imp.state.Offset, io.SeekStart); err != nil {
			return err
		}
		info, err := file.Stat()
		if err != nil {
			return err
		}
		if size = info.Size(); imp.state.Offset > 0 {
			a.note("going on behind line %d", imp.state.Lines)
		}
	}
	c, err := client.New(client.Options{
		Endpoints: a.endpoints(), Attempts: importAttempts, AttemptTimeout: o.batch.Timeout, Timeout: importAttempts * o.batch.Timeout,
	})
	if err != nil {
		return err
	}
	defer c.Close()
	imp.send = func(ctx context.Context, ops []client.Op) ([]client.Result, error) {
		return c.Batch(ctx, o.bucket, ops, &o.batch)
	}
	if imp.state.Offset == 0 {
		imp.fresh, imp.seed = freshKeys(ctx, c, o.bucket), maphash.MakeSeed()
	}
	bar := a.newBar()
	defer bar.clear()
	start, before := time.Now(), imp.state
	imp.progress = func(s importState) { bar.draw(importLine(s, before, size, time.Since(start))) }
	err = imp.run(endAtSignal(ctx, func() {}), input)
	bar.clear()
	done := importDoc{Bucket: o.bucket, Lines: imp.state.Lines, Bytes: imp.state.Offset, Complete: err == nil,
		Written: imp.state.Lines - before.Lines, Seconds: time.Since(start).Seconds()}
	return errors.Join(err, a.printImport(done))
}

// freshKeys is nil unless the bucket is known to be empty.
func freshKeys(ctx context.Context, c *client.Client, bucket string) map[uint64]struct{} {
	for range c.Keys(ctx, bucket, &client.KeysOptions{Limit: 1}) {
		return nil // a key, or an error
	}
	return map[uint64]struct{}{}
}

// importDoc is what became of an import. Lines and Bytes are those of the input
// that are acknowledged, Written the lines of this call.
type importDoc struct {
	Bucket   string  `json:"bucket"`
	Lines    int64   `json:"lines"`
	Bytes    int64   `json:"bytes"`
	Written  int64   `json:"written"`
	Seconds  float64 `json:"seconds"`
	Complete bool    `json:"complete"`
}

func (a *app) printImport(d importDoc) error {
	if a.output == outputJSON {
		return a.printJSON(d)
	}
	s, state := plain, "imported"
	if !d.Complete {
		s, state = amber, "stopped behind"
	}
	return a.printLine(s, "%s %d lines, %d bytes; %d lines written in %.1f s, %.0f/s",
		state, d.Lines, d.Bytes, d.Written, d.Seconds, float64(d.Written)/max(d.Seconds, 1e-3))
}

// importLine is the progress of an import of size bytes; 0: not known.
func importLine(now, before importState, size int64, took time.Duration) string {
	line := fmt.Sprintf("%d lines, %d bytes", now.Lines, now.Offset)
	if size > 0 {
		line = gauge("importing", float64(now.Offset)/float64(size)) + fmt.Sprintf(": %d lines", now.Lines)
	}
	if seconds := took.Seconds(); seconds >= 1 {
		line += fmt.Sprintf(", %.0f/s", float64(now.Lines-before.Lines)/seconds)
	}
	return line
}
