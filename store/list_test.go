package store

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"starling/store/object"
	"starling/store/version"
)

// A list is the rows of one bucket with a prefix behind a key, partition by
// partition in any order, and nothing of its neighbours.
func TestList(t *testing.T) {
	s := openFor(t, small(vfs.NewMem()))
	rng := rand.New(rand.NewPCG(1, 6))
	var refs []object.Ref
	for _, bucket := range []string{"b", "b.", "a", "bb"} {
		for range 150 {
			key := make([]byte, 1+rng.IntN(4))
			for i := range key {
				key[i] = "\x00a\xfe\xff"[rng.IntN(4)]
			}
			ref := object.Ref{Partition: uint32(rng.IntN(3)), Bucket: bucket, Key: string(key)}
			if !slices.Contains(refs, ref) {
				refs = append(refs, ref)
				mustPut(t, s, ref, version.Context{}, "value")
			}
		}
	}
	slices.SortFunc(refs, func(a, b object.Ref) int { return strings.Compare(a.Key, b.Key) })
	for _, prefix := range []string{"", "a", "\xff", "\xff\xff", "\x00", "aa\xff\xff\xff", "z"} {
		l, err := s.List("b", prefix)
		if err != nil {
			t.Fatal(err)
		}
		for range 60 {
			p, limit, after := uint32(rng.IntN(4)), 1+rng.IntN(60), ""
			if rng.IntN(3) > 0 {
				after = refs[rng.IntN(len(refs))].Key
			}
			var want []string
			for _, ref := range refs {
				if ref.Partition == p && ref.Bucket == "b" && strings.HasPrefix(ref.Key, prefix) && ref.Key > after && len(want) < limit {
					want = append(want, ref.Key)
				}
			}
			entries, err := l.Read(p, after, limit)
			var got []string
			for _, e := range entries {
				got = append(got, e.Ref.Key)
				if e.Ref.Partition != p || e.Ref.Bucket != "b" {
					t.Errorf("row %+v of partition %d", e.Ref, p)
				}
			}
			if err != nil || !slices.Equal(got, want) {
				t.Fatalf("partition %d, prefix %q, after %q, limit %d: %q, %v, want %q", p, prefix, after, limit, got, err, want)
			}
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}
}

// Of its objects a list tells what is there, and no more.
func TestListTellsWhatIsThere(t *testing.T) {
	s := openFor(t, small(vfs.NewMem()))
	d := version.Dot{Actor: 9, Seq: 1}
	whole := object.Sibling{Dot: d, Op: op(1), ContentType: "text/plain", Meta: []object.Field{{Name: "a", Value: "1"}},
		Value: []byte("value"), ModifiedMS: 5, ExpiresMS: 7}
	mustMerge(t, s, testRef(1, "k"), object.Object{Vector: version.Vector{d}, Siblings: []object.Sibling{whole}})
	l, err := s.List("b", "")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	mustPut(t, s, testRef(1, "later"), version.Context{}, "v") // not seen
	entries, err := l.Read(1, "", 10)
	if err != nil || len(entries) != 1 {
		t.Fatalf("%v, %v", entries, err)
	}
	o := entries[0].Object
	if got := o.Siblings[0]; len(o.Vector) != 1 || got.Value != nil || got.ContentType != "" || got.Meta != nil ||
		got.Dot != d || got.Op != op(1) || got.ModifiedMS != 5 || got.ExpiresMS != 7 || got.Tombstone {
		t.Errorf("%+v", got)
	}
	if got := mustGet(t, s, testRef(1, "k")); string(got.Siblings[0].Value) != "value" {
		t.Errorf("the row was changed: %v", got)
	}
	if entries, err = l.Read(1, "", 0); len(entries) != 0 || err != nil {
		t.Errorf("of none: %v, %v", entries, err)
	}
	_, err = l.Read(MaxPartitions, "", 1)
	wantError(t, err, ErrInvalid)
}

func TestListRefuses(t *testing.T) {
	s := mustOpen(t, small(vfs.NewMem()))
	for _, bucket := range []string{"", "a\x00b", strings.Repeat("b", MaxBucketBytes+1)} {
		_, err := s.List(bucket, "")
		wantError(t, err, ErrInvalid)
	}
	mustClose(t, s)
	_, err := s.List("b", "")
	wantError(t, err, ErrClosed)
}

// BenchmarkListSeek reads one key of each of 1024 partitions of a bucket.
func BenchmarkListSeek(b *testing.B) {
	s := benchStore(b, Options{Durability: None})
	for i := range benchKeys {
		ref := object.Ref{Partition: uint32(i % 1024), Bucket: "bench", Key: fmt.Sprintf("key-%08d", i)}
		if _, err := s.Put(ref, version.Context{}, object.Sibling{Op: op(i + 1), Value: benchValue()[:100]}); err != nil {
			b.Fatal(err)
		}
	}
	if err := s.db.Flush(); err != nil {
		b.Fatal(err)
	}
	n := uint32(0)
	l, err := s.List("bench", "")
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	for b.Loop() {
		n++
		if rows, err := l.Read(n%1024, "key-00050000", 1); err != nil || len(rows) != 1 {
			b.Fatal(rows, err)
		}
	}
}
