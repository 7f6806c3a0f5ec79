package ring

import (
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"math/bits"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cespare/xxhash/v2"
)

var writeGolden = flag.Bool("ring.golden", false, "write missing golden files (never overwrites one)")

// golden compares text with a file of testdata. These files freeze formats that nodes and stores of different versions
// share, so they are never written anew.
func golden(t *testing.T, name, text string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *writeGolden {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
		if err == nil {
			_, err = f.WriteString(text)
			err = errors.Join(err, f.Close())
		}
		if err != nil && !os.IsExist(err) {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	got := strings.SplitAfter(text, "\n")
	for i, line := range strings.SplitAfter(string(want), "\n") {
		if i >= len(got) || got[i] != line {
			t.Fatalf("%s, line %d: got %q, want %q", path, i+1, append(got, "nothing")[min(i, len(got))], line)
		}
	}
	if text != string(want) {
		t.Fatalf("%s: more lines than frozen", path)
	}
}

func TestHashFrozen(t *testing.T) {
	var b strings.Builder
	for _, c := range [][2]string{
		{"", ""}, {"b", ""}, {"", "b"}, {"b", "k"}, {"default", "user:1"}, {"default", "user:2"}, {"sessions", "user:1"},
		{"bucket", "key with spaces"}, {"bucket", "ключ"}, {"bucket", "a\x00b"}, {"bucket", "\xff\xfe"},
		{"bucket", strings.Repeat("k", 31)}, {strings.Repeat("b", 64), strings.Repeat("k", 1024)},
	} {
		fmt.Fprintf(&b, "%q %q %016x", c[0], c[1], Hash(c[0], c[1]))
		for _, partitions := range []int{1, 2, 1024, 65536} {
			fmt.Fprintf(&b, " %d", Partition(c[0], c[1], partitions))
		}
		b.WriteByte('\n')
	}
	golden(t, "hash.golden", b.String())
}

// TestHashIsXXH64 compares Hash with the algorithm as its specification has it.
func TestHashIsXXH64(t *testing.T) {
	for _, c := range []struct {
		text string
		want uint64
	}{{"", 0xef46db3751d8e999}, {"a", 0xd24ec4f1a98c6e5b}, {"abc", 0x44bc2cf5ad770999}} {
		if got := naiveXXH64([]byte(c.text)); got != c.want {
			t.Fatalf("the twin hashes %q to %#x, want %#x", c.text, got, c.want)
		}
	}
	rng := rand.New(rand.NewPCG(3, 3))
	for range 500 {
		text := make([]byte, rng.IntN(150))
		for i := range text {
			text[i] = byte(rng.Uint32())
		}
		cut := rng.IntN(len(text) + 1)
		bucket, key := string(text[:cut]), string(text[cut:])
		if got, want := Hash(bucket, key), naiveXXH64([]byte(bucket+"\x00"+key)); got != want {
			t.Fatalf("Hash(%q, %q) = %#x, want %#x", bucket, key, got, want)
		}
	}
}

func naiveXXH64(b []byte) uint64 {
	const p1, p2, p3, p4, p5 = 11400714785074694791, 14029467366897019727, 1609587929392839161, 9650029242287828579, 2870177450012600261
	round := func(acc, lane uint64) uint64 { return bits.RotateLeft64(acc+lane*p2, 31) * p1 }
	one := uint64(p1)
	h := uint64(p5)
	total := uint64(len(b))
	if len(b) >= 32 {
		acc := [4]uint64{one + p2, p2, 0, -one}
		for ; len(b) >= 32; b = b[32:] {
			for i := range acc {
				acc[i] = round(acc[i], binary.LittleEndian.Uint64(b[8*i:]))
			}
		}
		h = bits.RotateLeft64(acc[0], 1) + bits.RotateLeft64(acc[1], 7) + bits.RotateLeft64(acc[2], 12) + bits.RotateLeft64(acc[3], 18)
		for _, a := range acc {
			h = (h^round(0, a))*p1 + p4
		}
	}
	h += total
	for ; len(b) >= 8; b = b[8:] {
		h = bits.RotateLeft64(h^round(0, binary.LittleEndian.Uint64(b)), 27)*p1 + p4
	}
	if len(b) >= 4 {
		h = bits.RotateLeft64(h^uint64(binary.LittleEndian.Uint32(b))*p1, 23)*p2 + p3
		b = b[4:]
	}
	for _, c := range b {
		h = bits.RotateLeft64(h^uint64(c)*p5, 11) * p1
	}
	h = (h ^ h>>33) * p2
	h = (h ^ h>>29) * p3
	return h ^ h>>32
}

func TestPartitionRange(t *testing.T) {
	counts := make([]int, 64)
	for i := range 64 * 200 {
		key := fmt.Sprint("key", i)
		counts[Partition("bucket", key, 64)]++
		// The partition of half as many partitions is the same one, doubled in size.
		if Partition("bucket", key, 32) != Partition("bucket", key, 64)/2 || Partition("bucket", key, 1) != 0 {
			t.Fatalf("partitions of %q do not nest", key)
		}
	}
	for p, n := range counts {
		if n < 140 || n > 260 {
			t.Errorf("partition %d has %d of 12800 keys", p, n)
		}
	}
}

// TestPlacementFrozen freezes the placement: nodes of different versions must agree on it.
func TestPlacementFrozen(t *testing.T) {
	zoned := func(n, zones int) []Member {
		members := equals(n, n)
		for i := range members {
			members[i].Zone = fmt.Sprint("zone", i%zones)
		}
		return members
	}
	mixed := zoned(17, 4)
	for i := range mixed {
		mixed[i].Weight = uint32(20 + 37*i%200)
		mixed[i].Draining = i%5 == 2
	}
	var b strings.Builder
	for _, c := range []struct {
		name    string
		cfg     Config
		members []Member
	}{
		{"one", Config{16, 3}, equals(1, 1)},
		{"five", Config{1024, 3}, equals(5, 5)},
		{"zones", Config{256, 3}, zoned(9, 3)},
		{"two zones", Config{64, 5}, zoned(8, 2)},
		{"mixed", Config{256, 3}, mixed},
		{"heavy", Config{64, 2}, []Member{{ID: names(1, 1)[0], Weight: 10000}, {ID: names(2, 1)[0], Weight: 1}, {ID: names(3, 1)[0], Weight: 3}}},
		{"many", Config{1024, 3}, equals(85, 85)},
		{"crowded", Config{64, 3}, equals(60, 60)},
	} {
		r := mustNew(t, c.cfg, c.members)
		var d xxhash.Digest
		d.Reset()
		for p := range c.cfg.Partitions {
			for id := range r.Order(p) {
				_, _ = d.Write(id[:])
			}
		}
		fmt.Fprintf(&b, "%s: %016x, first target %v\n", c.name, d.Sum64(), r.Targets(0)[0])
	}
	golden(t, "placement.golden", b.String())
}

func TestStampFrozen(t *testing.T) {
	ids := names(1, 7)
	var b strings.Builder
	for _, c := range []struct{ owners, pending, displaced []NodeID }{
		{}, {owners: ids[:3]}, {owners: ids[:2], pending: ids[2:3]}, {owners: ids[:3], pending: ids[3:4]},
		{owners: ids[:3], displaced: ids[3:4]}, {owners: ids[:3], pending: ids[3:5], displaced: ids[5:7]},
	} {
		fmt.Fprintf(&b, "%d %d %d: %016x\n", len(c.owners), len(c.pending), len(c.displaced), stamp(0, c.owners, c.pending, c.displaced))
	}
	fmt.Fprintf(&b, "3 0 0, fence 7: %016x\n", stamp(7, ids[:3], nil, nil))
	golden(t, "stamp.golden", b.String())
}

func BenchmarkPartition(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		Partition("bucket", "a key of ordinary length", 1024)
	}
}
