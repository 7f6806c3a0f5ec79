package state

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"starling/ring"
)

func id(n byte) ring.NodeID { return ring.NodeID{15: n} }

func settings() Settings {
	return Settings{Cluster: [16]byte{0xc1}, Partitions: 16, Replicas: 3, HashVersion: HashVersion, Secret: [32]byte{7}}
}

func member(n byte) Member {
	return Member{ID: id(n), Name: fmt.Sprintf("n%d", n), RPC: "host:4701", HTTP: "host:4700", Gossip: "host:4702",
		Weight: 100, State: Active, Boot: 1, Version: FirstVersion(1)}
}

// randomMember draws from few values, so that records of equal Version and different content are common.
func randomMember(r *rand.Rand, n byte) Member {
	m := member(n)
	m.State = Lifecycle(1 + r.IntN(4))
	m.Boot = uint64(1 + r.IntN(2))
	m.Version = m.Boot<<32 | uint64(1+r.IntN(2))
	m.RPC = []string{"a:1", "b:1"}[r.IntN(2)]
	m.Weight = uint32(1 + r.IntN(2))
	m.Settled = FullBits(r.IntN(3))
	m.Fence = uint64(r.IntN(2))
	if heir := byte(r.IntN(6)); m.State == Removed && heir > 0 && heir != n {
		m.Heir = id(heir)
	}
	m.Forced = m.State == Removed && r.IntN(3) == 0
	m.extra = []string{"", "\xf0\x01\x07"}[r.IntN(2)]
	return m.normal()
}

func randomMap(r *rand.Rand) Map {
	var m Map
	if r.IntN(4) > 0 {
		m.Settings = settings()
	}
	for n := range byte(4) {
		if r.IntN(3) > 0 {
			m = m.With(randomMember(r, n+1))
		}
	}
	return m
}

func mustMerge(t *testing.T, a, b Map) Map {
	t.Helper()
	m, err := Merge(a, b)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func wantEqual(t *testing.T, what string, a, b Map) {
	t.Helper()
	if a.Hash() != b.Hash() || !reflect.DeepEqual(a, b) {
		t.Fatalf("%s:\n%+v\n%+v", what, a, b)
	}
}

func TestMergeLaws(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	t.Logf("seed %d", seed)
	for range 1500 {
		a, b, c := randomMap(r), randomMap(r), randomMap(r)
		ab := mustMerge(t, a, b)
		wantEqual(t, "idempotent", mustMerge(t, a, a), a)
		wantEqual(t, "commutative", ab, mustMerge(t, b, a))
		wantEqual(t, "associative", mustMerge(t, ab, c), mustMerge(t, a, mustMerge(t, b, c)))
		wantEqual(t, "absorbing", mustMerge(t, ab, a), ab)
		checkMerged(t, a, b, ab)
	}
}

// checkMerged compares a merge, record by record, with what it promises.
func checkMerged(t *testing.T, a, b, ab Map) {
	t.Helper()
	for n := range byte(4) {
		x, inA := a.Member(id(n + 1))
		y, inB := b.Member(id(n + 1))
		got, in := ab.Member(id(n + 1))
		if in != (inA || inB) {
			t.Fatalf("record %d: %v, want %v", n+1, in, inA || inB)
		}
		if got.State != max(x.State, y.State) || got.Version != max(x.Version, y.Version) {
			t.Fatalf("record %d: merged %v to %v and version %x", n+1, []Lifecycle{x.State, y.State}, got.State, got.Version)
		}
		if got.Fence != max(x.Fence, y.Fence) || got.Heir.Compare(x.Heir) < 0 || got.Heir.Compare(y.Heir) < 0 || got.Heir != x.Heir && got.Heir != y.Heir {
			t.Fatalf("record %d: fence %d, heir %v of %+v and %+v", n+1, got.Fence, got.Heir, x, y)
		}
		if got.Forced != (x.Forced || y.Forced) {
			t.Fatalf("record %d: forced %v of %v and %v", n+1, got.Forced, x.Forced, y.Forced)
		}
		if inA || inB {
			if err := got.Validate(); err != nil {
				t.Fatal(err)
			}
		}
		if got.State == Removed && got.Settled != nil {
			t.Fatalf("record %d: removed, settled %x", n+1, got.Settled)
		}
		if x.Version > y.Version && (got.RPC != x.RPC || got.State != Removed && !reflect.DeepEqual(got.Settled, x.Settled)) {
			t.Fatalf("record %d: not the content of the later version", n+1)
		}
	}
}

func TestMergeRefusesOtherClusters(t *testing.T) {
	a, b := Map{Settings: settings()}, Map{Settings: settings()}
	b.Settings.Cluster = [16]byte{0xc2}
	_, err := Merge(a, b)
	if !errors.Is(err, ErrForeignCluster) {
		t.Fatalf("got %v", err)
	}
	for _, want := range []string{"c100", "c200", "empty data directory"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not say %q", err, want)
		}
	}
}

func TestMergeRefusesOtherSettings(t *testing.T) {
	for _, tc := range []struct {
		change func(*Settings)
		says   []string
	}{
		{func(s *Settings) { s.Partitions = 32 }, []string{"16 partitions", "32 partitions"}},
		{func(s *Settings) { s.Replicas = 5 }, []string{"3 replicas", "5 replicas"}},
		{func(s *Settings) { s.HashVersion = 2 }, []string{"hash version 1", "hash version 2"}},
		{func(s *Settings) { s.Secret[3] = 1 }, []string{"secret"}},
		{func(s *Settings) { s.extra = "\x30\x01" }, []string{"newer release"}},
	} {
		a, b := Map{Settings: settings()}, Map{Settings: settings()}
		tc.change(&b.Settings)
		_, err := Merge(a, b)
		if !errors.Is(err, ErrSettings) {
			t.Fatalf("%v: got %v", tc.says, err)
		}
		for _, want := range tc.says {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%q does not say %q", err, want)
			}
		}
	}
}

func TestSettingsHideTheSecret(t *testing.T) {
	s := settings()
	s.Secret = [32]byte([]byte("the-secret-of-thirty-two-bytes!!"))
	for _, format := range []string{"%v", "%+v", "%#v", "%s"} {
		text := fmt.Sprintf(format, Map{Settings: s})
		if strings.Contains(text, "the-secret") || strings.Contains(text, "0x74, 0x68") || strings.Contains(text, "116 104") {
			t.Errorf("%s shows the secret: %s", format, text)
		}
	}
}

func TestMergeBounds(t *testing.T) {
	many := func(n int, from int, s Lifecycle) Map {
		m := Map{Settings: settings()}
		for i := range n {
			r := member(1)
			r.ID = ring.NodeID{byte((from + i) >> 8), byte(from + i), 15: 1}
			r.State = s
			m.Members = append(m.Members, r)
		}
		return m
	}
	half := ring.MaxMembers / 2
	if m := mustMerge(t, many(half, 0, Active), many(half, half, Active)); len(m.Members) != ring.MaxMembers {
		t.Fatalf("%d members", len(m.Members))
	}
	if _, err := Merge(many(half, 0, Active), many(half+1, half, Active)); !errors.Is(err, ErrTooManyMembers) {
		t.Fatalf("members beyond the bound: %v", err)
	}
	if _, err := Merge(many(MaxRecords, 0, Removed), many(1, MaxRecords, Removed)); !errors.Is(err, ErrTooManyMembers) {
		t.Fatalf("records beyond the bound: %v", err)
	}
}

func TestOvertaken(t *testing.T) {
	mine := member(1)
	mine.Boot, mine.Version = 3, 3<<32|5
	mine.Settled = FullBits(4)
	for _, tc := range []struct {
		what   string
		change func(*Member)
		want   bool
	}{
		{"my record", func(*Member) {}, false},
		{"my record of before", func(r *Member) { r.Version--; r.RPC = "old:1" }, false},
		{"my record of an earlier start", func(r *Member) { r.Boot, r.Version = 2, 2<<32|99 }, false},
		{"a later start", func(r *Member) { r.Boot, r.Version = 4, FirstVersion(4) }, true},
		{"a version I did not write", func(r *Member) { r.Version++ }, true},
		{"another address under my version", func(r *Member) { r.RPC = "other:1" }, true},
		{"other settled bits under my version", func(r *Member) { r.Settled = FullBits(5) }, true},
		{"told to leave", func(r *Member) { r.State = Leaving }, false},
		{"removed", func(r *Member) { r.State = Removed; r.Settled = nil }, false},
		{"replaced", func(r *Member) { r.State = Removed; r.Settled = nil; r.Heir = id(2) }, false},
		{"replaced as of before", func(r *Member) { r.State = Removed; r.Settled = nil; r.Heir = id(2); r.Version-- }, false},
		{"removed by force", func(r *Member) { r.State = Removed; r.Settled = nil; r.Forced = true }, false},
		{"removed, a version I did not write", func(r *Member) { r.State = Removed; r.Settled = nil; r.Version++ }, true},
		{"removed, another address", func(r *Member) { r.State = Removed; r.Settled = nil; r.RPC = "other:1" }, true},
	} {
		theirs := mine
		tc.change(&theirs)
		if got := Overtaken(mine, theirs); got != tc.want {
			t.Errorf("%s: %v, want %v", tc.what, got, tc.want)
		}
	}
}

func TestCheckName(t *testing.T) {
	gone := member(2)
	gone.State = Removed
	m := Map{Settings: settings()}.With(member(1)).With(gone)
	if err := m.CheckName("n1", id(1)); err != nil {
		t.Errorf("my own name: %v", err)
	}
	if err := m.CheckName("n2", id(3)); err != nil {
		t.Errorf("the name of a removed member: %v", err)
	}
	err := m.CheckName("n1", id(3))
	if !errors.Is(err, ErrNameTaken) || !strings.Contains(err.Error(), id(1).String()) {
		t.Errorf("a taken name: %v", err)
	}
}

func TestWithReplaces(t *testing.T) {
	m := Map{}.With(member(3)).With(member(1)).With(member(2))
	changed := member(2)
	changed.Zone = "z"
	n := m.With(changed)
	for i, r := range n.Members {
		if r.ID != id(byte(i+1)) {
			t.Fatalf("order: %v at %d", r.ID, i)
		}
	}
	if got, _ := n.Member(id(2)); got.Zone != "z" || len(n.Members) != 3 {
		t.Fatalf("got %+v", n.Members)
	}
	if got, _ := m.Member(id(2)); got.Zone != "" {
		t.Fatal("With changed the map it was called on")
	}
}

func TestNewCluster(t *testing.T) {
	self := member(1)
	self.State, self.Version, self.Boot = 0, 0, 2
	m, err := NewCluster(settings(), self)
	if err != nil {
		t.Fatal(err)
	}
	got, _ := m.Member(id(1))
	if got.State != Active || got.Settled.Count() != 16 || got.Version != FirstVersion(2) {
		t.Fatalf("got %+v", got)
	}
	if _, err := NewCluster(Settings{}, self); !errors.Is(err, ErrSettings) {
		t.Fatalf("zero settings: %v", err)
	}
	self.Weight = 0
	if _, err := NewCluster(settings(), self); !errors.Is(err, ErrInvalid) {
		t.Fatalf("zero weight: %v", err)
	}
}

func TestBits(t *testing.T) {
	var b Bits
	b = b.With(3, 9, 64)
	if !b.Get(3) || !b.Get(9) || !b.Get(64) || b.Get(4) || b.Get(-1) || b.Get(1000) || b.Count() != 3 {
		t.Fatalf("got %x", b)
	}
	c := b.Without(64, 4, 700)
	if c.Get(64) || c.Count() != 2 || len(c) != 2 || !b.Get(64) {
		t.Fatalf("got %x from %x", c, b)
	}
	if got := c.Without(3, 9); got != nil {
		t.Fatalf("the empty set is %x, want nil", got)
	}
	for n := range 20 {
		full := FullBits(n)
		if full.Count() != n || full.Get(n) || n > 0 && !full.Get(n-1) {
			t.Fatalf("FullBits(%d) = %x", n, full)
		}
	}
}
