package main

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// importState is what an import remembers in a file of its own, so that one
// that was ended goes on where it was.
type importState struct {
	Version int    `json:"version"`
	Bucket  string `json:"bucket"`
	// ID names the import: the operations of its lines are derived from it, so
	// that a line that is sent again is the same put.
	ID string `json:"import_id"`
	// All lines before Offset are acknowledged; Lines counts them.
	Offset int64 `json:"offset"`
	Lines  int64 `json:"lines"`
	// Before is a digest of the bytes before Offset, so that another file, or
	// one that was edited, is noticed.
	Before string `json:"before"`
}

const (
	importStateVersion = 1
	// stateWindow is how many bytes before the offset the digest is of.
	stateWindow = 4 << 10
	// maxStateBytes bounds the file of a state.
	maxStateBytes = 64 << 10
)

func newImportState(bucket string) importState {
	var id [16]byte
	_, _ = rand.Read(id[:]) // it never fails
	return importState{Version: importStateVersion, Bucket: bucket, ID: hex.EncodeToString(id[:])}
}

// idempotencyKey names the put of a line that ends at an offset. Where it stands
// is part of it: the same line further down is another put, for the value of its
// key may be another in between.
func (s *importState) idempotencyKey(end int64, line []byte) string {
	h := sha256.New()
	_, _ = fmt.Fprintf(h, "%s %d ", s.ID, end) // a hash takes every write
	h.Write(line)
	return "import-" + hex.EncodeToString(h.Sum(nil)[:16])
}

// loadImportState reads the state of an import of this input; a new one where
// there is no file.
func loadImportState(path, bucket string, input io.ReaderAt) (importState, error) {
	text, err := readBounded(path, maxStateBytes)
	if errors.Is(err, fs.ErrNotExist) {
		return newImportState(bucket), nil
	}
	var s importState
	if err == nil {
		err = json.Unmarshal(text, &s)
	}
	switch {
	case err != nil:
		return s, fmt.Errorf("the state %s: %w", path, err)
	case s.Version != importStateVersion || s.ID == "" || s.Offset < 0 || s.Lines < 0:
		return s, fmt.Errorf("the state %s is of another version of this program", path)
	case s.Bucket != bucket:
		return s, usagef("the state %s is of an import into bucket %s; remove it to begin anew", path, s.Bucket)
	}
	before, err := digestBefore(input, s.Offset)
	if err != nil || before != s.Before {
		return s, usagef("the state %s is of another file, or of one that was changed; remove it to begin anew", path)
	}
	return s, nil
}

func readBounded(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // only read from
	return io.ReadAll(io.LimitReader(f, limit))
}

// digestBefore is a digest of the bytes before an offset.
func digestBefore(input io.ReaderAt, offset int64) (string, error) {
	b := make([]byte, min(offset, stateWindow))
	if _, err := input.ReadAt(b, offset-int64(len(b))); err != nil && !(err == io.EOF && len(b) == 0) {
		return "", err
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:8]), nil
}

// save puts the state on disk in place of the last one. The file that it is
// written to first has always the same name: one that a killed import left behind
// is written over.
func (s *importState) save(path string) error {
	text, err := json.Marshal(s)
	if err != nil {
		return err
	}
	next := path + ".new"
	f, err := os.OpenFile(next, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("keeping the place of the import (--state says where): %w", err)
	}
	_, err = f.Write(append(text, '\n'))
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(next, path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(next))
	}
	return syncDir(filepath.Dir(path))
}

// syncDir makes a rename durable.
func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
