package object_test

import (
	"errors"
	"slices"
	"testing"

	"starling/store/object"
	"starling/store/version"
)

func expectError(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("error %v, want %v", err, want)
	}
}

func TestPutsUnderOneContextAreSiblings(t *testing.T) {
	o := put(t, object.Object{}, version.Context{}, valued(dot(1, 1), "old"))
	c := o.Context()
	o = put(t, o, c, valued(dot(1, 2), "left"))
	o = put(t, o, c, valued(dot(1, 3), "right"))
	expect(t, "two puts with one context", o, "left", "right")
	expect(t, "put with the context of a read", put(t, o, o.Context(), valued(dot(1, 4), "both")), "both")
	expect(t, "put with a stale context", put(t, o, c, valued(dot(1, 4), "late")), "left", "right", "late")
}

func TestPutTakesOverWhatTheClientSaw(t *testing.T) {
	// The client read at a replica that this one has not heard from.
	c := version.Context{Vector: version.Vector{dot(7, 3)}}
	o := put(t, object.Object{}, c, valued(dot(1, 1), "new"))
	late := object.Object{Vector: version.Vector{dot(7, 3)}, Siblings: []object.Sibling{valued(dot(7, 3), "old")}}
	expect(t, "the old value comes late", object.Merge(o, late), "new")
}

func TestUpdateRefusesAnOldDot(t *testing.T) {
	o := put(t, object.Object{}, version.Context{}, valued(dot(1, 5), "old"))
	for _, d := range []version.Dot{dot(1, 5), dot(1, 4), dot(1, 0), {}} {
		_, err := o.Update(version.Context{}, valued(d, "new"), object.Limits{})
		expectError(t, err, object.ErrDotReused)
	}
	if _, err := o.Update(version.Context{}, valued(dot(1, 6), "new"), object.Limits{}); err != nil {
		t.Error(err)
	}
}

// After a delete was purged everywhere its actor goes on counting, and a
// client may still hold a context of before.
func TestPutWithAContextOfAPurgedKey(t *testing.T) {
	c := version.Without(version.Vector{dot(1, 9)}, []version.Dot{dot(1, 4)})
	expect(t, "put", put(t, object.Object{}, c, valued(dot(1, 10), "new")), "new")
}

func TestSiblingLimit(t *testing.T) {
	limits := object.Limits{Siblings: 3}
	var o object.Object
	for n := uint64(1); n <= 3; n++ {
		var err error
		if o, err = o.Update(version.Context{}, valued(dot(1, n), "v"), limits); err != nil {
			t.Fatal(err)
		}
	}
	_, err := o.Update(version.Context{}, valued(dot(1, 4), "v"), limits)
	expectError(t, err, object.ErrTooManySiblings)

	one := version.Context{Vector: version.Vector{dot(1, 1)}}
	o, err = o.Update(one, valued(dot(1, 4), "v"), limits)
	if err != nil || len(o.Siblings) != 3 {
		t.Errorf("a put that supersedes one: %d siblings, error %v", len(o.Siblings), err)
	}

	// Merges have no limits, and must not leave a key that cannot be resolved.
	for n := uint64(1); n <= 3; n++ {
		o = object.Merge(o, put(t, object.Object{}, version.Context{}, valued(dot(1+version.Actor(n), 1), "w")))
	}
	if len(o.Siblings) != 6 {
		t.Fatalf("%d siblings after the merges", len(o.Siblings))
	}
	_, err = o.Update(version.Context{}, valued(dot(1, 5), "v"), limits)
	expectError(t, err, object.ErrTooManySiblings)
	two := version.Context{Vector: version.Vector{dot(1, 3)}}
	if p, err := o.Update(two, valued(dot(1, 5), "v"), limits); err != nil || len(p.Siblings) != 5 {
		t.Errorf("a put that resolves two of six: %d siblings, error %v", len(p.Siblings), err)
	}
}

func TestByteLimit(t *testing.T) {
	o := put(t, object.Object{}, version.Context{}, valued(dot(1, 1), string(make([]byte, 500))))
	added := put(t, o, version.Context{}, valued(dot(1, 2), string(make([]byte, 500))))
	size := added.Size()
	second := valued(dot(1, 2), string(make([]byte, 500)))
	if _, err := o.Update(version.Context{}, second, object.Limits{Bytes: size}); err != nil {
		t.Errorf("at the limit: %v", err)
	}
	before := o.Append(nil)
	_, err := o.Update(version.Context{}, second, object.Limits{Bytes: size - 1})
	expectError(t, err, object.ErrTooLarge)
	if !slices.Equal(o.Append(nil), before) {
		t.Error("the refused put changed the object")
	}
	smaller := valued(dot(1, 3), string(make([]byte, 400)))
	if _, err := added.Update(o.Context(), smaller, object.Limits{Bytes: 100}); err != nil {
		t.Errorf("a put that shrinks an object over its limit: %v", err)
	}
}

func TestActorLimit(t *testing.T) {
	var o object.Object
	for a := version.Actor(1); a <= version.MaxEntries; a++ {
		o = put(t, o, o.Context(), valued(dot(a, 1), "v"))
	}
	_, err := o.Update(o.Context(), valued(dot(version.MaxEntries+1, 1), "v"), object.Limits{})
	expectError(t, err, object.ErrTooLarge)
	foreign := version.Context{Vector: version.Vector{dot(version.MaxEntries+1, 1)}}
	_, err = o.Update(foreign, valued(dot(1, 2), "v"), object.Limits{})
	expectError(t, err, object.ErrTooLarge)
	o = put(t, o, o.Context(), valued(dot(1, 2), "v"))

	// Two vectors within the bound may merge to one that is not. It can be
	// read, and known actors still write.
	extra := put(t, object.Object{}, version.Context{}, valued(dot(version.MaxEntries+1, 1), "w"))
	o = object.Merge(o, extra)
	if p, err := object.Decode(o.Append(nil)); err != nil || !p.Equal(o) {
		t.Errorf("an object of %d actors cannot be read: %v", len(o.Vector), err)
	}
	expect(t, "put over the bound", put(t, o, o.Context(), valued(dot(1, 3), "v")), "v")
}

func TestUpdateSortsMetadata(t *testing.T) {
	meta := []object.Field{{Name: "b", Value: "1"}, {Name: "a", Value: "2"}, {Name: "b", Value: "0"}}
	given := slices.Clone(meta)
	o := put(t, object.Object{}, version.Context{}, object.Sibling{Dot: dot(1, 1), Meta: meta})
	want := []object.Field{{Name: "a", Value: "2"}, {Name: "b", Value: "1"}, {Name: "b", Value: "0"}}
	if !slices.Equal(o.Siblings[0].Meta, want) {
		t.Errorf("stored as %v", o.Siblings[0].Meta)
	}
	if !slices.Equal(meta, given) {
		t.Errorf("the caller's metadata became %v", meta)
	}
	_, err := o.Update(version.Context{}, object.Sibling{Dot: dot(1, 2), Meta: make([]object.Field, object.MaxFields+1)}, object.Limits{})
	expectError(t, err, object.ErrTooLarge)
}

func TestReplyToASupersededWriteCoversNoSibling(t *testing.T) {
	o := put(t, object.Object{}, version.Context{}, valued(dot(1, 1), "mine"))
	o = put(t, o, o.Context(), valued(dot(2, 1), "theirs"))
	reply := o.Reply(version.Context{}, dot(1, 1))
	if !reply.Covers(dot(1, 1)) || reply.Covers(dot(2, 1)) {
		t.Errorf("reply %v", reply)
	}
}

func TestLive(t *testing.T) {
	var o object.Object
	for i, s := range []object.Sibling{
		{Value: []byte("plain")},
		{Tombstone: true},
		{Value: []byte("at 100"), ExpiresMS: 100},
		{Value: []byte("at 200"), ExpiresMS: 200},
	} {
		s.Dot = dot(1, uint64(i)+1)
		o = put(t, o, version.Context{}, s)
	}
	for _, tt := range []struct {
		nowMS int64
		want  []string
	}{
		{99, []string{"plain", "at 100", "at 200"}},
		{100, []string{"plain", "at 200"}},
		{200, []string{"plain"}},
	} {
		var got []string
		for _, s := range o.Live(tt.nowMS) {
			got = append(got, string(s.Value))
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("at %d: %q, want %q", tt.nowMS, got, tt.want)
		}
	}
	if len(o.Siblings) != 4 {
		t.Error("reading changed the object")
	}
}

func TestAbsent(t *testing.T) {
	var o object.Object
	if !o.Absent() || !o.Context().Empty() || len(o.Live(0)) != 0 || o.Hash("b", "k") != 0 {
		t.Error("the zero object is not absent")
	}
	deleted := put(t, o, version.Context{}, object.Sibling{Dot: dot(1, 1), Tombstone: true})
	if deleted.Absent() || deleted.Context().Empty() || len(deleted.Live(0)) != 0 || deleted.Hash("b", "k") == 0 {
		t.Error("a tombstone is absent, or is read")
	}
}
