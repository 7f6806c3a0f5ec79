package store

import (
	"errors"
	"fmt"
	"syscall"

	"github.com/cockroachdb/pebble/v2"
)

// Errors of a store. They are wrapped with what led to them.
var (
	// ErrClosed: the store is closing or closed. Nothing happened.
	ErrClosed = errors.New("store: closed")
	// ErrDiskFull: free space is below the floor, or a write met a full disk.
	// Nothing happened. Reads go on, and writes are taken again once there is
	// space.
	ErrDiskFull = errors.New("store: disk full")
	// ErrHintsFull: the hint would take more room than [Options] give to hints.
	// Nothing happened; room comes back as hints are delivered and deleted.
	ErrHintsFull = errors.New("store: the room for hints is used up")
	// ErrCorrupt: stored bytes are damaged. It never means that a key is absent.
	ErrCorrupt = errors.New("store: corrupt data")
	// ErrLocked: another process, or another Store of this one, has the directory.
	ErrLocked = errors.New("store: directory is in use")
	// ErrFormat: the directory was not written by a version that this one knows.
	ErrFormat = errors.New("store: unknown on-disk format")
	// ErrClusterSet: the store already belongs to another cluster.
	ErrClusterSet = errors.New("store: belongs to another cluster")
	// ErrInvalid: the request is outside the bounds of a store.
	ErrInvalid = errors.New("store: invalid request")
)

// wrap says what was tried when the engine failed, and marks corruption.
func wrap(doing string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ErrCorrupt):
		return fmt.Errorf("%s: %w", doing, err)
	case pebble.IsCorruptionError(err):
		return fmt.Errorf("%w: %s: %w", ErrCorrupt, doing, err)
	}
	return fmt.Errorf("store: %s: %w", doing, err)
}

// isDiskFull reports whether an operating system's error says that there is
// no space, or no quota.
func isDiskFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}
