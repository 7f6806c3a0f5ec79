package store

import (
	"bytes"
	"encoding/hex"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"

	"starling/store/object"
)

var update = flag.Bool("update", false, "rewrite the golden files")

var goldenTarget = [16]byte{0xa0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 0xff}

// TestGoldenKeys freezes the layout of the disk: what this version writes must
// be what every version of format 1 wrote.
func TestGoldenKeys(t *testing.T) {
	var b strings.Builder
	for _, ref := range []object.Ref{
		{Partition: 0, Bucket: "b", Key: "k"},
		{Partition: 1, Bucket: "users", Key: "alice/42"},
		{Partition: 1023, Bucket: "a.b-c_D", Key: "\x00\xff"},
		{Partition: 65535, Bucket: strings.Repeat("z", 64), Key: strings.Repeat("K", 40)},
	} {
		k := appendDataKey(nil, ref)
		h := nameHash(k)
		fmt.Fprintf(&b, "name   %q %q hash %016x leaf %d\n", ref.Bucket, ref.Key, h, leafOf(h))
		fmt.Fprintf(&b, "data   %x\n", k)
		fmt.Fprintf(&b, "index  %x\n", appendIndexKey(nil, ref.Partition, leafOf(h), ref.Bucket, ref.Key))
		fmt.Fprintf(&b, "leaf   %x\n", appendLeafKey(nil, ref.Partition, leafOf(h)))
		fmt.Fprintf(&b, "hint   %x\n", appendHintKey(nil, goldenTarget, ref))
		fmt.Fprintf(&b, "due    %s\n", goldenCandidate(t, k))
		fmt.Fprintf(&b, "counts %x\n", appendPrefix(nil, kindCounts, ref.Partition))
	}
	fmt.Fprintf(&b, "totals %x\n", totalsKey(goldenTarget))
	for _, name := range []string{metaFormat, metaID, metaCluster, metaBoot, metaSequence, metaClean, metaActors} {
		fmt.Fprintf(&b, "meta   %q\n", metaKey(scopeStore, name))
	}
	fmt.Fprintf(&b, "saved  %q\n", metaKey(scopeUser, "map"))
	fmt.Fprintf(&b, "value  %x of leaf sum 0x0102030405060708, 3 keys\n", Leaf{0x0102030405060708, 3}.append(nil))

	fmt.Fprintf(&b, "value  %x of totals of 0x0102030405060708 bytes, 3 hints\n", totalsValue(hintTotals{hints: 3, bytes: 0x0102030405060708}))

	fmt.Fprintf(&b, "value  %x of counts of 0x0102030405060708 tombstones, 3 candidates\n", purgeCounts{0x0102030405060708, 3}.value(nil))

	const file = "testdata/keys.golden"
	if *update {
		if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if b.String() != string(want) {
		t.Errorf("the key space changed; got\n%s", b.String())
	}
}

// goldenCandidate is the candidate row of a key that is due at the time
// 0x0102030405060708: key, then value.
func goldenCandidate(t *testing.T, dataKey []byte) string {
	t.Helper()
	b := new(pebble.Batch)
	setCandidate(b, dataKey, standing{deleteMS: 0x0102030405060708, pruneMS: never})
	rows := b.Reader()
	kind, key, value, ok, err := rows.Next()
	if !ok || err != nil || kind != pebble.InternalKeyKindSet {
		t.Fatalf("a batch with %v %x, %v", kind, key, err)
	}
	return fmt.Sprintf("%x = %x", key, value)
}

func TestKeysParseBack(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	for range 1000 {
		ref := object.Ref{Partition: rng.Uint32N(MaxPartitions), Bucket: randomName(rng, 1), Key: randomName(rng, 0)}
		if got, err := parseDataKey(appendDataKey(nil, ref)); err != nil || got != ref {
			t.Fatalf("data key of %+v: %+v, %v", ref, got, err)
		}
		if got, err := parseIndexKey(appendIndexKey(nil, ref.Partition, 7, ref.Bucket, ref.Key)); err != nil || got != ref {
			t.Fatalf("index key of %+v: %+v, %v", ref, got, err)
		}
		if target, got, err := parseHintKey(appendHintKey(nil, goldenTarget, ref)); err != nil || got != ref || target != goldenTarget {
			t.Fatalf("hint key of %+v: %x, %+v, %v", ref, target, got, err)
		}
	}
	for _, k := range []string{"", "d", "d0000", "d0000bucket", "i000000bucket", "x0000b\x00k", "h0123456789abcdef000", "h0123456789abcdef0000bucket"} {
		if ref, err := parseDataKey([]byte(k)); err == nil {
			t.Errorf("%q parses as data key %+v", k, ref)
		}
		if ref, err := parseIndexKey([]byte(k)); err == nil {
			t.Errorf("%q parses as index key %+v", k, ref)
		}
		if _, ref, err := parseHintKey([]byte(k)); err == nil {
			t.Errorf("%q parses as hint key %+v", k, ref)
		}
	}
}

// TestKeyOrder checks that rows sort by bucket, then key.
func TestKeyOrder(t *testing.T) {
	rng := rand.New(rand.NewPCG(2, 2))
	for range 1000 {
		a := object.Ref{Partition: 5, Bucket: randomName(rng, 1), Key: randomName(rng, 0)}
		b := object.Ref{Partition: 5, Bucket: randomName(rng, 1), Key: randomName(rng, 0)}
		want := strings.Compare(a.Bucket, b.Bucket)
		if want == 0 {
			want = strings.Compare(a.Key, b.Key)
		}
		if got := bytes.Compare(appendDataKey(nil, a), appendDataKey(nil, b)); got != want {
			t.Fatalf("%+v and %+v compare %d, want %d", a, b, got, want)
		}
	}
}

// randomName is a short name of few different bytes, from least on.
func randomName(rng *rand.Rand, least byte) string {
	b := make([]byte, 1+rng.IntN(4))
	for i := range b {
		b[i] = [...]byte{least, 1, 'a', 'b', 0xff}[rng.IntN(5)]
	}
	return string(b)
}

// TestLeavesAreIndependentOfPartitions checks that a leaf's number and a
// partition's share no bit of the hash.
func TestLeavesAreIndependentOfPartitions(t *testing.T) {
	const mask = uint64(LeafCount-1) << leafShift
	if mask>>48 != 0 {
		t.Errorf("leaf bits %#x reach into the 16 of the partition", mask)
	}
	for bit := range 64 {
		h := uint64(1) << bit
		if changes := leafOf(h) != 0; changes != (h&mask != 0) {
			t.Errorf("bit %d changes the leaf: %v", bit, changes)
		}
	}
}

func TestLeafMerger(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 3))
	for range 200 {
		parts := make([][]byte, 1+rng.IntN(6))
		var want Leaf
		for i := range parts {
			l := Leaf{Sum: rng.Uint64(), Keys: rng.Uint64N(3) - 1}
			parts[i], want = l.append(nil), want.plus(l)
		}
		// Any grouping in any order gives the same sum.
		for len(parts) > 1 {
			i := rng.IntN(len(parts) - 1)
			m, err := leafMerger.Merge(nil, parts[i])
			if err != nil {
				t.Fatal(err)
			}
			add := m.MergeNewer
			if rng.IntN(2) == 0 {
				add = m.MergeOlder
			}
			if err := add(parts[i+1]); err != nil {
				t.Fatal(err)
			}
			sum, _, err := m.Finish(rng.IntN(2) == 0)
			if err != nil {
				t.Fatal(err)
			}
			parts = append(append(parts[:i:i], sum), parts[i+2:]...)
		}
		if got, err := decodeLeaf(parts[0]); err != nil || got != want {
			t.Fatalf("sum %+v, want %+v (%v)", got, want, err)
		}
	}
	if _, err := leafMerger.Merge(nil, []byte("short")); err == nil {
		t.Error("a short row is taken for a leaf")
	}
	m, _ := leafMerger.Merge(nil, Leaf{}.append(nil))
	wantError(t, m.MergeNewer([]byte(hex.EncodeToString(make([]byte, 16)))), ErrCorrupt)
}
