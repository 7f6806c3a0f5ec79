package bucket

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Bounds of a [Registry].
const (
	// MaxRecords is how many records a change may lead to: buckets that are
	// declared or were dropped.
	MaxRecords = 4096
	// MaxMerged is how many there may be once registries were merged that did
	// not know of each other.
	MaxMerged = 8 * MaxRecords
	// MaxCount bounds Incarnation and Version. JSON numbers are exact up to it.
	MaxCount = 1<<53 - 1
	// MaxExtraBytes bounds the unknown fields of one record.
	MaxExtraBytes = 512
)

// Record is what a cluster knows of one bucket name.
type Record struct {
	Name string
	// Incarnation counts how often the bucket was dropped. Objects of earlier
	// ones are gone.
	Incarnation uint64
	// Declared: somebody gave it properties. If not, they are the defaults.
	Declared bool
	// Version grows with each change under one incarnation; of two changes that
	// did not know of each other that of the greater Writer stays.
	Version    uint64
	Writer     [16]byte
	Properties Properties

	// extra holds the encoded fields of a newer release.
	extra string
}

// Stored is the name of the present incarnation in the store.
func (r Record) Stored() string { return Stored(r.Name, r.Incarnation) }

// Validate is ErrInvalid, wrapped, for a record that is out of bounds or that
// neither [Record.Declare] nor [Record.Drop] makes.
func (r Record) Validate() error {
	if !ValidName(r.Name) {
		return fmt.Errorf("%w: name %q: 1 to %d of A-Z a-z 0-9 . _ -", ErrInvalid, r.Name, MaxNameBytes)
	}
	switch {
	case r.Incarnation > MaxCount || r.Version > MaxCount:
		return fmt.Errorf("%w: bucket %s: incarnation %d, version %d: at most %d", ErrInvalid, r.Name, r.Incarnation, r.Version, uint64(MaxCount))
	case r.Version == 0:
		return fmt.Errorf("%w: bucket %s: version 0: nobody wrote it", ErrInvalid, r.Name)
	case !r.Declared && r.Incarnation == 0:
		return fmt.Errorf("%w: bucket %s: neither declared nor dropped", ErrInvalid, r.Name)
	case !r.Declared && r.Properties != Properties{}:
		return fmt.Errorf("%w: bucket %s: properties, but not declared", ErrInvalid, r.Name)
	case len(r.extra) > MaxExtraBytes:
		return fmt.Errorf("%w: bucket %s: %d bytes of unknown fields: at most %d", ErrInvalid, r.Name, len(r.extra), MaxExtraBytes)
	}
	return r.Properties.Validate()
}

// compare orders what is known of one name by how far it is. Two contents under
// one version of one writer, which only a copied data directory can produce, are
// ordered too: any order will do, and without one merging would depend on whose
// record came first.
func (r Record) compare(o Record) int {
	further := cmp.Or(cmp.Compare(r.Incarnation, o.Incarnation), cmp.Compare(r.Version, o.Version), bytes.Compare(r.Writer[:], o.Writer[:]))
	if further != 0 || r == o {
		return further
	}
	return bytes.Compare(r.append(nil), o.append(nil))
}

// Registry is all records of a cluster, sorted by name, each name once. It is
// never changed once it has been handed out.
type Registry []Record

// Find is the record of a name: one with the defaults for a bucket that nobody
// declared or dropped.
func (g Registry) Find(name string) Record {
	if i, ok := g.index(name); ok {
		return g[i]
	}
	return Record{Name: name}
}

func (g Registry) index(name string) (int, bool) {
	return slices.BinarySearchFunc(g, name, func(r Record, name string) int { return strings.Compare(r.Name, name) })
}

// Gone says whether objects stored under a name belong to an incarnation that
// was dropped.
func (g Registry) Gone(stored string) bool {
	if len(g) == 0 {
		return false
	}
	name, incarnation, ok := Split(stored)
	return ok && incarnation < g.Find(name).Incarnation
}

// With is g with r merged in. It is ErrInvalid, wrapped, for a record out of
// bounds, or one more than [MaxRecords].
func (g Registry) With(r Record) (Registry, error) {
	if err := r.Validate(); err != nil {
		return g, err
	}
	merged := Merge(g, Registry{r})
	if err := g.checkGrowth(merged); err != nil {
		return g, err
	}
	return merged, nil
}

// checkGrowth refuses a change to more than MaxRecords. A registry that came to
// more by merging may still be changed, but not grow.
func (g Registry) checkGrowth(next Registry) error {
	if len(next) > MaxRecords && len(next) > len(g) {
		return fmt.Errorf("%w: %d buckets are declared or were dropped, as many as there may be", ErrInvalid, max(len(g), MaxRecords))
	}
	return nil
}

// Validate is ErrInvalid, wrapped, if the records are not sorted by name, each
// name once, or one of them is out of bounds, or if there are more than
// [MaxMerged].
func (g Registry) Validate() error {
	if len(g) > MaxMerged {
		return fmt.Errorf("%w: %d records: at most %d", ErrInvalid, len(g), MaxMerged)
	}
	for i, r := range g {
		if err := r.Validate(); err != nil {
			return err
		}
		if i > 0 && g[i-1].Name >= r.Name {
			return fmt.Errorf("%w: bucket %s after %s: want them sorted, each once", ErrInvalid, r.Name, g[i-1].Name)
		}
	}
	return nil
}

// Step is ErrInvalid, wrapped, if a writer that knows from may not make it to:
// if to is out of bounds, lacks a record of from, has one that differs and is no
// further, or has grown beyond [MaxRecords].
func Step(from, to Registry) error {
	if err := to.Validate(); err != nil {
		return err
	}
	if err := from.checkGrowth(to); err != nil {
		return err
	}
	for _, was := range from {
		is := to.Find(was.Name)
		further := cmp.Or(cmp.Compare(is.Incarnation, was.Incarnation), cmp.Compare(is.Version, was.Version))
		if is != was && further <= 0 {
			return fmt.Errorf("%w: bucket %s cannot go from incarnation %d, version %d to incarnation %d, version %d",
				ErrInvalid, was.Name, was.Incarnation, was.Version, is.Incarnation, is.Version)
		}
	}
	return nil
}

// Merge keeps the furthest record of each name. It is idempotent, commutative
// and associative. The result may share memory with a and b, and is nil if both
// are empty.
func Merge(a, b Registry) Registry {
	if len(a) == 0 && len(b) == 0 {
		return nil
	}
	merged := make(Registry, 0, max(len(a), len(b)))
	for len(a) > 0 && len(b) > 0 {
		switch c := strings.Compare(a[0].Name, b[0].Name); {
		case c < 0:
			merged, a = append(merged, a[0]), a[1:]
		case c > 0:
			merged, b = append(merged, b[0]), b[1:]
		default:
			r := a[0]
			if b[0].compare(r) > 0 {
				r = b[0]
			}
			merged, a, b = append(merged, r), a[1:], b[1:]
		}
	}
	return append(append(merged, a...), b...)
}

// Declare is what r becomes when a writer gives it properties.
func (r Record) Declare(p Properties, writer [16]byte) Record {
	return Record{Name: r.Name, Incarnation: r.Incarnation, Declared: true, Version: r.Version + 1, Writer: writer, Properties: p, extra: r.extra}
}

// Drop is what r becomes when it is dropped: the next incarnation, empty and
// with the defaults.
func (r Record) Drop(writer [16]byte) Record {
	return Record{Name: r.Name, Incarnation: r.Incarnation + 1, Version: 1, Writer: writer}
}
