package store

import (
	"fmt"
	"strings"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// guardedFS ends the process at the first failure to write, sync or begin a
// log file, or to sync the directory that holds it, before the engine learns
// of it. The engine's own answers to such failures range from an error that a
// sync much later gives to a panic that leaves its locks in disorder.
type guardedFS struct {
	vfs.FS
	dir   string
	fatal func(error)
	// serving is set once the store is open: until then a file that cannot be
	// made is an error of Open.
	serving *atomic.Bool
}

// Unwrap implements vfs.FS.
func (g *guardedFS) Unwrap() vfs.FS { return g.FS }

// Create implements vfs.FS.
func (g *guardedFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := g.FS.Create(name, c)
	return g.guard(name, "creating", f, err)
}

// ReuseForWrite implements vfs.FS.
func (g *guardedFS) ReuseForWrite(oldname, newname string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := g.FS.ReuseForWrite(oldname, newname, c)
	return g.guard(newname, "reusing", f, err)
}

// OpenDir implements vfs.FS.
func (g *guardedFS) OpenDir(name string) (vfs.File, error) {
	f, err := g.FS.OpenDir(name)
	if err != nil || name != g.dir {
		return f, err
	}
	return &guardedDir{f, g}, nil
}

// guard wraps a log file, or fails with the error of opening it.
func (g *guardedFS) guard(name, doing string, f vfs.File, err error) (vfs.File, error) {
	if !strings.HasSuffix(name, ".log") {
		return f, err
	}
	if err != nil {
		if g.serving.Load() {
			g.fail(doing, err)
		}
		return f, err
	}
	return &guardedLog{f, g}, nil
}

// fail ends the process if there is an error.
func (g *guardedFS) fail(doing string, err error) {
	if err != nil {
		g.fatal(fmt.Errorf("store: %s the log: %w", doing, err))
	}
}

// guardedLog is a log file.
type guardedLog struct {
	vfs.File
	fs *guardedFS
}

// Write implements vfs.File.
func (f *guardedLog) Write(p []byte) (int, error) {
	n, err := f.File.Write(p)
	f.fs.fail("writing", err)
	return n, err
}

// Sync implements vfs.File.
func (f *guardedLog) Sync() error {
	err := f.File.Sync()
	f.fs.fail("syncing", err)
	return err
}

// SyncData implements vfs.File.
func (f *guardedLog) SyncData() error {
	err := f.File.SyncData()
	f.fs.fail("syncing", err)
	return err
}

// SyncTo implements vfs.File.
func (f *guardedLog) SyncTo(length int64) (bool, error) {
	full, err := f.File.SyncTo(length)
	f.fs.fail("syncing", err)
	return full, err
}

// guardedDir is the directory of the log files.
type guardedDir struct {
	vfs.File
	fs *guardedFS
}

// Sync implements vfs.File.
func (d *guardedDir) Sync() error {
	err := d.File.Sync()
	if d.fs.serving.Load() {
		d.fs.fail("syncing the directory of", err)
	}
	return err
}
