package store

import (
	"bytes"
	"encoding/binary"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"starling/store/object"
	"starling/store/version"
)

func tombstone(modifiedMS int64) object.Sibling {
	return object.Sibling{Tombstone: true, ModifiedMS: modifiedMS}
}

func expiring(modifiedMS, expiresMS int64) object.Sibling {
	return object.Sibling{ModifiedMS: modifiedMS, ExpiresMS: expiresMS}
}

func living(modifiedMS int64) object.Sibling { return object.Sibling{ModifiedMS: modifiedMS} }

// siblings is an object with these siblings, of as many actors.
func siblings(list ...object.Sibling) object.Object {
	o := object.Object{}
	for i, sib := range list {
		sib.Dot = version.Dot{Actor: version.Actor(i + 1), Seq: 1}
		o.Vector = o.Vector.With(sib.Dot)
		o.Siblings = append(o.Siblings, sib)
	}
	return o
}

// TestCandidates says of some objects when they are due, and what for.
func TestCandidates(t *testing.T) {
	for name, tt := range map[string]struct {
		o                   object.Object
		deletedMS, prunedMS int64 // from when on; 0: never
		tombstones          int64
	}{
		"value":                          {o: siblings(living(50))},
		"tombstone":                      {o: siblings(tombstone(50)), deletedMS: 50, tombstones: 1},
		"tombstones":                     {o: siblings(tombstone(50), tombstone(70), tombstone(60)), deletedMS: 70, tombstones: 1},
		"tombstone and value":            {o: siblings(tombstone(50), living(40))},
		"expiring":                       {o: siblings(expiring(50, 90)), deletedMS: 90},
		"expiring twice":                 {o: siblings(expiring(50, 90), expiring(51, 80)), deletedMS: 90},
		"expiring and value":             {o: siblings(living(40), expiring(50, 90))},
		"expiring and earlier tombstone": {o: siblings(tombstone(60), expiring(50, 90)), deletedMS: 90},
		"expiring and later tombstone":   {o: siblings(tombstone(95), expiring(50, 90)), deletedMS: 95},
		"nothing":                        {o: object.Object{Vector: version.Vector{{Actor: 1, Seq: 1}}}, deletedMS: 1, tombstones: 1},
		"many entries":                   {o: wide(9, living(50)), prunedMS: 50},
		"not too many entries":           {o: wide(8, living(50))},
		"many entries, tombstone":        {o: wide(9, tombstone(50)), deletedMS: 50, tombstones: 1},
		"many entries, expiring":         {o: wide(9, expiring(50, 90)), deletedMS: 90, prunedMS: 50},
	} {
		t.Run(name, func(t *testing.T) {
			s := openFor(t, small(vfs.NewMem()))
			ref := testRef(1, "k")
			mustPut(t, s, testRef(1, "j"), version.Context{}, "v")
			mustPut(t, s, testRef(1, "l"), version.Context{}, "v")
			mustMerge(t, s, ref, tt.o)
			for nowMS := range int64(100) {
				got := candidates(t, s, 1, nowMS)
				deletes := tt.deletedMS > 0 && nowMS > tt.deletedMS || tt.o.Siblings == nil && nowMS > 0
				if due := deletes || tt.prunedMS > 0 && nowMS > tt.prunedMS; !due {
					if len(got) > 0 {
						t.Errorf("at %d: %+v", nowMS, got)
					}
					continue
				}
				if len(got) != 1 || got[0].Ref != ref || got[0].Hash != tt.o.Hash("b", "k") || !got[0].Vector.Equal(tt.o.Vector) {
					t.Fatalf("at %d: %+v", nowMS, got)
				}
				if got[0].Delete != deletes {
					t.Errorf("at %d: it is to be deleted %v, want %v", nowMS, got[0].Delete, deletes)
				}
			}
			wantTombstones(t, s, tt.tombstones)
			checkPartition(t, s, 1)
			// Over it a value that lives, then nothing at all.
			mustPut(t, s, ref, tt.o.Context(), "v")
			wantTombstones(t, s, 0)
			checkPartition(t, s, 1)
			mustPurge(t, s, ref, mustGet(t, s, ref))
			checkPartition(t, s, 1)
		})
	}
}

func wantTombstones(t testing.TB, s *Store, want int64) {
	t.Helper()
	if got, err := s.Tombstones(); err != nil || got != want {
		t.Errorf("%d tombstones, %v, want %d", got, err, want)
	}
}

// TestOrdinaryKeysHaveNoExtraRows writes to keys that are no candidates.
func TestOrdinaryKeysHaveNoExtraRows(t *testing.T) {
	s := openFor(t, small(vfs.NewMem()))
	for i := range 30 {
		mustPut(t, s, testRef(1, key(i%10)), mustGet(t, s, testRef(1, key(i%10))).Context(), "v")
		mustMerge(t, s, testRef(1, key(i%10)), foreign(9, uint64(i+1), "m"))
	}
	for _, kind := range []byte{kindCandidate, kindCounts} {
		if n := rowCount(t, s, kind, 1); n != 0 {
			t.Errorf("%d rows of kind %c", n, kind)
		}
	}
}

// TestCandidatesInPages ranges from every place, over some partitions.
func TestCandidatesInPages(t *testing.T) {
	s := openFor(t, small(vfs.NewMem()))
	partitions := []uint32{0, 1, 2, MaxPartitions - 1}
	var want []object.Ref
	for _, p := range partitions {
		for i := range 9 {
			ref := object.Ref{Partition: p, Bucket: []string{"a", "ab", "b"}[i/3], Key: key(i % 3)}
			if i%2 == 0 {
				mustDelete(t, s, ref, int64(i))
			} else {
				mustPut(t, s, ref, version.Context{}, "v")
			}
			if p == 1 && i%2 == 0 {
				want = append(want, ref)
			}
		}
	}
	for i := range len(want) + 1 {
		after := object.Ref{}
		if i > 0 {
			after = want[i-1]
		}
		var got []object.Ref
		for c, err := range s.Candidates(1, after, never) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, c.Ref)
		}
		if !slices.Equal(got, want[i:]) {
			t.Errorf("behind %v come %v, want %v", after, got, want[i:])
		}
	}
	wantTombstones(t, s, int64(len(partitions)*len(want)))
	if err := s.DropPartition(1); err != nil {
		t.Fatal(err)
	}
	wantTombstones(t, s, int64((len(partitions)-1)*len(want)))
	if got := candidates(t, s, 1, never); len(got) > 0 {
		t.Errorf("a dropped partition has the candidates %v", got)
	}
	// A candidate that changes while the loop runs comes as it is by then.
	n := 0
	for c, err := range s.Candidates(2, object.Ref{}, never) {
		if err != nil || c.Ref.Key == key(1) {
			t.Errorf("%+v, %v", c, err)
		}
		if n++; n == 1 {
			mustPut(t, s, object.Ref{Partition: 2, Bucket: "ab", Key: key(1)}, version.Context{}, "v")
			ref := object.Ref{Partition: 2, Bucket: "a", Key: key(2)}
			mustPurge(t, s, ref, mustGet(t, s, ref))
		}
	}
	if n != len(want)-2 {
		t.Errorf("%d candidates, want %d", n, len(want)-2)
	}
	checkPartition(t, s, 2)
}

// TestStandingIsItsTwin compares standingOf with the twin on random objects.
func TestStandingIsItsTwin(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	for range 5000 {
		o := wide(1+rng.IntN(12), object.Sibling{})
		o.Siblings = nil
		for _, d := range o.Vector {
			if rng.IntN(3) > 0 {
				continue
			}
			sib := object.Sibling{Dot: d, Tombstone: rng.IntN(3) > 0, ModifiedMS: 1 + rng.Int64N(9)}
			if rng.IntN(2) == 0 {
				sib.ExpiresMS = 1 + rng.Int64N(9)
			}
			o.Siblings = append(o.Siblings, sib)
		}
		want := int64(never)
		if times := twinDue(o); len(times) > 0 {
			want = slices.Min(times)
		}
		st := standingOf(o)
		if st.dueMS() != want || st.candidate() != (want != never) || st.tombstones != onlyTombstones(o) {
			t.Fatalf("%+v is %+v, want due %d", o, st, want)
		}
	}
}

func TestDamagedPurgeRows(t *testing.T) {
	s := openFor(t, small(vfs.NewMem()))
	mustDelete(t, s, testRef(1, "k"), 1)
	set := func(key []byte) {
		t.Helper()
		if err := s.db.Set(key, []byte("short"), nil); err != nil {
			t.Fatal(err)
		}
	}
	key := appendDataKey(nil, testRef(1, "k"))
	key[0] = kindCandidate
	set(key)
	for c, err := range s.Candidates(1, object.Ref{}, never) {
		if wantError(t, err, ErrCorrupt); err == nil {
			t.Errorf("a damaged row gives %+v", c)
		}
	}
	set(appendPrefix(nil, kindCounts, 2))
	wantTombstones(t, s, 1) // nobody has partition 2
	set(appendPrefix(nil, kindCounts, 1))
	_, err := s.Tombstones()
	wantError(t, err, ErrCorrupt)
}

// TestLostCandidates damages the rows of the only partition with candidates, or
// its counts. The others have lost nothing, though whoever looks for their
// candidates comes by.
func TestLostCandidates(t *testing.T) {
	const dueMS = 0x1e3779b97f4a7c15 // not to be compressed
	for name, rows := range map[string][]byte{
		"candidates": binary.BigEndian.AppendUint64(nil, dueMS),
		"counts":     appendPrefix(nil, kindCounts, 3),
	} {
		t.Run(name, func(t *testing.T) {
			fs := vfs.NewCrashableMem()
			s := mustOpen(t, small(fs))
			for p := range uint32(lossPartitions) {
				mustPut(t, s, testRef(p, "k"), version.Context{}, "v")
			}
			mustDelete(t, s, testRef(3, "k"), dueMS)
			b := s.db.NewBatch()
			for _, k := range []string{"d", "f", "gz"} { // each ends a block
				_ = b.Set([]byte(k), make([]byte, 30_000), nil)
			}
			s.saveRows(b)
			mustClose(t, s)
			fs = copyFS(fs)
			hit := false
			for _, table := range filesWith(t, fs, ".sst") {
				if at := bytes.Index(content(t, fs, table), rows); at >= 0 {
					damage(t, fs, table, int64(at))
					hit = true
				}
			}
			var r reported
			o := small(fs)
			o.OnAmnesia = r.add
			s = openFor(t, o)
			s.search(t.Context(), span{start: []byte{kindCounts}, end: []byte{kindMeta}})
			eventually(t, "the loss is told", func() bool { return len(r.get()) > 0 })
			for p := range uint32(lossPartitions) {
				var want, got error
				if p == 3 {
					want = ErrCorrupt
				}
				for _, got = range s.Candidates(p, object.Ref{}, never) {
				}
				wantError(t, got, want)
			}
			if _, err := s.Tombstones(); (err != nil) != (name == "counts") {
				t.Errorf("tombstones are counted with the error %v", err)
			}
			if got := r.get(); !hit || !maps.Equal(got, map[uint32]int{3: 1}) {
				t.Errorf("told of %v, hit %v", got, hit)
			}
			if err := s.DropPartition(3); err != nil {
				t.Fatal(err)
			}
			if left := candidates(t, s, 3, never); len(left) > 0 {
				t.Errorf("after the drop there are %v", left)
			}
			wantTombstones(t, s, 0)
		})
	}
}
