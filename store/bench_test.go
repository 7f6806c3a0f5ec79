package store

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"starling/store/object"
	"starling/store/version"
)

// benchKeys is how many keys the benchmarks write to.
const benchKeys = 100_000

func benchRef(i int) object.Ref {
	return object.Ref{Partition: uint32(i % 64), Bucket: "bench", Key: fmt.Sprintf("key-%08d", i)}
}

func benchValue() []byte {
	b := make([]byte, 1000)
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range b {
		b[i] = "abcdefghijklmnop"[rng.IntN(16)]
	}
	return b
}

func benchStore(b *testing.B, o Options) *Store {
	b.Helper()
	o.Dir, o.FreeFloorBytes = b.TempDir(), -1
	s, err := Open(o)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = s.Close() })
	return s
}

// overwrite reads a key's context and puts a value with it, as a client does.
func overwrite(s *Store, i int, op uint64, value []byte) (object.Written, error) {
	ref := benchRef(i)
	o, err := s.Get(ref)
	if err != nil {
		return object.Written{}, err
	}
	sib := object.Sibling{Value: value, ModifiedMS: 1_700_000_000_000}
	binary.BigEndian.PutUint64(sib.Op[:], op)
	return s.Put(ref, version.Context{Vector: o.Vector}, sib)
}

// BenchmarkPut overwrites random keys of 1000 bytes with a read before each,
// durable on the disk of the temporary directory. The interval between syncs
// for more than two writers (groupEvery) was chosen by it.
func BenchmarkPut(b *testing.B) {
	for _, writers := range []int{1, 2, 8, 32, 128} {
		b.Run(fmt.Sprintf("sync/writers=%d", writers), func(b *testing.B) { benchPut(b, Sync, writers) })
	}
	b.Run("none/writers=8", func(b *testing.B) { benchPut(b, None, 8) })
}

func benchPut(b *testing.B, d Durability, writers int) {
	s := benchStore(b, Options{Durability: d})
	value := benchValue()
	var op atomic.Uint64
	share(b, writers, func(rng *rand.Rand) error {
		w, err := overwrite(s, rng.IntN(benchKeys), op.Add(1), value)
		if err != nil {
			return err
		}
		return w.Wait()
	})
}

// share runs b.N operations by so many workers, and reports their rate and
// what they cost the whole process.
func share(b *testing.B, workers int, do func(*rand.Rand) error) {
	b.Helper()
	var left atomic.Int64
	left.Store(int64(b.N))
	var group errgroup.Group
	b.ReportAllocs()
	b.ResetTimer()
	before := cpuTime(b)
	for i := range workers {
		group.Go(func() error {
			rng := rand.New(rand.NewPCG(uint64(i), uint64(b.N)))
			for left.Add(-1) >= 0 {
				if err := do(rng); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "ops/s")
	b.ReportMetric(float64((cpuTime(b)-before).Nanoseconds())/1e3/float64(b.N), "cpu-µs/op")
}

// cpuTime is what the process has used so far.
func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func fill(b *testing.B, s *Store, n int) {
	b.Helper()
	value := benchValue()
	var last object.Written
	for i := range n {
		w, err := s.Put(benchRef(i), version.Context{}, object.Sibling{Value: value})
		if err != nil {
			b.Fatal(err)
		}
		last = w
	}
	if err := last.Wait(); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkGet reads random keys of 1000 bytes from the memtable and the cache.
func BenchmarkGet(b *testing.B) {
	s := benchStore(b, Options{})
	fill(b, s, 20_000)
	share(b, 2, func(rng *rand.Rand) error {
		_, err := s.Get(benchRef(rng.IntN(20_000)))
		return err
	})
}

// BenchmarkRoot asks for the root of a partition of a thousand keys, as every
// exchange does: of one at rest, and of one that was written to.
func BenchmarkRoot(b *testing.B) {
	for _, writes := range []bool{false, true} {
		b.Run(fmt.Sprintf("writes=%v", writes), func(b *testing.B) {
			s := benchStore(b, Options{Durability: None})
			fill(b, s, 64_000)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if writes { // to a key of partition 0
					if _, err := overwrite(s, i%1000*64, 0, nil); err != nil {
						b.Fatal(err)
					}
				}
				if _, err := s.Root(0); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkMerge takes in replica writes that supersede what is there.
func BenchmarkMerge(b *testing.B) {
	s := benchStore(b, Options{})
	value := benchValue()
	var seq atomic.Uint64
	share(b, 8, func(rng *rand.Rand) error {
		d := version.Dot{Actor: 7, Seq: seq.Add(1)}
		sib := object.Sibling{Dot: d, Value: value}
		binary.BigEndian.PutUint64(sib.Op[:], d.Seq)
		o := object.Object{Vector: version.Vector{d}, Siblings: []object.Sibling{sib}}
		w, err := s.Merge(benchRef(rng.IntN(benchKeys)), o)
		if err != nil {
			return err
		}
		return w.Wait()
	})
}

// BenchmarkHinted asks for the hints of a key, as every read does that meets an
// owner that is down: in a store without hints, and in one that has some for
// two targets but none of the key.
func BenchmarkHinted(b *testing.B) {
	for _, targets := range []int{0, 2} {
		b.Run(fmt.Sprintf("targets=%d", targets), func(b *testing.B) {
			s := benchStore(b, Options{HintsMaxBytes: 1 << 30, HintsMaxTargetBytes: 1 << 30})
			for i := range targets * 1000 {
				if _, err := s.MergeHint([16]byte{byte(i%targets + 1)}, benchRef(i), foreign(7, 1, "v")); err != nil {
					b.Fatal(err)
				}
			}
			share(b, 2, func(rng *rand.Rand) error {
				_, err := s.Hinted(benchRef(benchKeys + rng.IntN(benchKeys)))
				return err
			})
		})
	}
}

// BenchmarkMergeHint takes in hints of 1000 bytes that supersede what is there.
func BenchmarkMergeHint(b *testing.B) {
	s := benchStore(b, Options{HintsMaxBytes: 1 << 30, HintsMaxTargetBytes: 1 << 30})
	value := benchValue()
	var seq atomic.Uint64
	share(b, 8, func(rng *rand.Rand) error {
		d := version.Dot{Actor: 7, Seq: seq.Add(1)}
		o := object.Object{Vector: version.Vector{d}, Siblings: []object.Sibling{{Dot: d, Value: value}}}
		w, err := s.MergeHint([16]byte{1}, benchRef(rng.IntN(benchKeys)), o)
		if err != nil {
			return err
		}
		return w.Wait()
	})
}
