package store

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"starling/store/object"
	"starling/store/version"
)

func TestScan(t *testing.T) {
	s := openFor(t, small(vfs.NewMem()))
	var want []object.Ref
	for _, bucket := range []string{"b", "a", "a.b", "ab"} {
		for _, key := range []string{"k", "\x00", "kk", "\xff", "k\x00"} {
			want = append(want, object.Ref{Partition: 1, Bucket: bucket, Key: key})
		}
	}
	for _, p := range []uint32{0, 1, 2, MaxPartitions - 1} {
		for _, ref := range want {
			ref.Partition = p
			mustPut(t, s, ref, version.Context{}, fmt.Sprint(p, ref.Bucket, ref.Key))
		}
	}
	slices.SortFunc(want, func(a, b object.Ref) int {
		if c := strings.Compare(a.Bucket, b.Bucket); c != 0 {
			return c
		}
		return strings.Compare(a.Key, b.Key)
	})
	page := func(p uint32, after object.Ref, n int) []object.Ref {
		t.Helper()
		var refs []object.Ref
		for e, err := range s.Scan(p, after) {
			if err != nil {
				t.Fatal(err)
			}
			if e.Ref.Partition != p {
				t.Errorf("partition %d gives %+v", p, e.Ref)
			}
			wantValues(t, e.Object, fmt.Sprint(p, e.Ref.Bucket, e.Ref.Key))
			e.Ref.Partition = 1
			if refs = append(refs, e.Ref); len(refs) == n {
				break
			}
		}
		return refs
	}
	for _, p := range []uint32{0, 1, 2, MaxPartitions - 1} {
		if got := page(p, object.Ref{}, -1); !slices.Equal(got, want) {
			t.Errorf("partition %d holds %v, want %v", p, got, want)
		}
		var paged []object.Ref
		for after := (object.Ref{}); ; after = paged[len(paged)-1] {
			refs := page(p, after, 3)
			if len(refs) == 0 {
				break
			}
			paged = append(paged, refs...)
		}
		if !slices.Equal(paged, want) {
			t.Errorf("pages of partition %d are %v, want %v", p, paged, want)
		}
	}
	// A place that is no key is a place all the same.
	if got := page(1, object.Ref{Bucket: "a", Key: "kzz"}, 1); got[0] != (object.Ref{Partition: 1, Bucket: "a", Key: "\xff"}) {
		t.Errorf("behind a key that is not there comes %v", got)
	}
	if got := page(7, object.Ref{}, -1); len(got) != 0 {
		t.Errorf("an empty partition holds %v", got)
	}
}

// TestScanIsASnapshot writes during a scan.
func TestScanIsASnapshot(t *testing.T) {
	s := openFor(t, small(vfs.NewMem()))
	for i := range 10 {
		mustPut(t, s, testRef(1, key(i)), version.Context{}, "old")
	}
	n := 0
	for e, err := range s.Scan(1, object.Ref{}) {
		if err != nil {
			t.Fatal(err)
		}
		wantValues(t, e.Object, "old")
		if n++; n == 1 {
			for i := range 20 {
				mustPut(t, s, testRef(1, key(i)), mustGet(t, s, testRef(1, key(i))).Context(), "new")
			}
		}
	}
	if n != 10 {
		t.Errorf("the scan saw %d objects, want 10", n)
	}
}

func TestDropPartition(t *testing.T) {
	fs := vfs.NewCrashableMem()
	s := openFor(t, small(fs))
	s.Vouch()
	put := func(p uint32, i int) object.Written {
		t.Helper()
		w, err := s.Put(testRef(p, key(i)), version.Context{}, object.Sibling{Value: []byte("v"), Op: op(i + 1)})
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Wait(); err != nil {
			t.Fatal(err)
		}
		return w
	}
	var before [3]object.Written
	for p := range uint32(3) {
		for i := range 20 {
			before[p] = put(p, i)
		}
	}
	for range 2 { // an empty one too
		if err := s.DropPartition(1); err != nil {
			t.Fatal(err)
		}
	}
	for p, want := range []int{20, 0, 20} {
		if n := len(checkPartition(t, s, uint32(p))); n != want {
			t.Errorf("partition %d holds %d keys, want %d", p, n, want)
		}
	}
	for _, kind := range partitionKinds {
		if n := rowCount(t, s, kind, 1); n != 0 {
			t.Errorf("%d rows of kind %c are left", n, kind)
		}
	}
	// It is dropped on disk, and the others are not.
	crashed := openFor(t, small(crash(fs, 0, 1)))
	for p, want := range []int{20, 0, 20} {
		if n := len(checkPartition(t, crashed, uint32(p))); n != want {
			t.Errorf("after a crash partition %d holds %d keys, want %d", p, n, want)
		}
	}
	// A retry of a put that was dropped is a new put, under a new actor.
	again := put(1, 19)
	if !again.Changed || again.Dot.Actor == before[1].Dot.Actor {
		t.Errorf("after the drop a put is %+v, before %+v", again, before[1])
	}
	if w := put(2, 100); w.Dot.Actor != before[2].Dot.Actor {
		t.Error("the drop changed the actor of another partition")
	}
	checkPartition(t, s, 1)
}

// TestDropUnderWrites drops a partition while it is written to: afterwards its
// rows must still fit together.
func TestDropUnderWrites(t *testing.T) {
	s := openFor(t, small(vfs.NewMem()))
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
				mustPut(t, s, testRef(1, key(i%30)), version.Context{}, "v")
			}
		}
	}()
	for range 20 {
		mustPut(t, s, testRef(1, "mine"), version.Context{}, "v")
		if err := s.DropPartition(1); err != nil {
			t.Error(err)
		}
	}
	close(stop)
	<-done
	checkPartition(t, s, 1)
}

func TestCheckpoint(t *testing.T) {
	fs := vfs.NewMem()
	s := openFor(t, small(fs))
	for i := range 20 {
		mustPut(t, s, testRef(1, key(i)), version.Context{}, "v")
	}
	if err := s.Checkpoint("copy"); err != nil {
		t.Fatal(err)
	}
	mustPut(t, s, testRef(1, "later"), version.Context{}, "v")
	if err := s.Checkpoint("copy"); err == nil {
		t.Error("a checkpoint went over another")
	}
	o := small(fs)
	o.Dir = "copy"
	c := openFor(t, o)
	if n := len(checkPartition(t, c, 1)); n != 20 {
		t.Errorf("the copy has %d keys, want 20", n)
	}
}
