package gossip

import (
	"encoding/hex"
	"log/slog"
	"strings"
	"testing"

	"github.com/hashicorp/memberlist"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"starling/gossip/state"
	"starling/ring"
)

func testTable(overtaken func(uint64)) *table {
	dropped := prometheus.NewCounter(prometheus.CounterOpts{Name: "dropped"})
	return newTable(Peer{ID: nodeID(1), Boot: 5}, dropped, slog.New(slog.DiscardHandler), overtaken)
}

func mlNode(p Peer) *memberlist.Node {
	return &memberlist.Node{Name: nodeName(p.ID, p.Boot), Meta: p.encode(0)}
}

func TestTableKnowsTheLatestStart(t *testing.T) {
	tab := testTable(nil)
	first, second := Peer{ID: nodeID(2), Boot: 1, RPC: "a:1"}, Peer{ID: nodeID(2), Boot: 2, RPC: "b:1"}
	tab.NotifyJoin(mlNode(first))
	tab.NotifyJoin(mlNode(second))
	if p, _ := tab.peer(nodeID(2)); p != second {
		t.Fatalf("got %+v", p)
	}
	second.MapHash = 7
	tab.NotifyUpdate(mlNode(second))
	tab.NotifyLeave(mlNode(first))
	if p, _ := tab.peer(nodeID(2)); p != second {
		t.Fatalf("got %+v", p)
	}
	tab.learned(nodeID(2), 8)
	tab.learned(nodeID(3), 8)
	if p, _ := tab.peer(nodeID(2)); p.MapHash != 8 || len(tab.all()) != 1 {
		t.Fatalf("got %+v", p)
	}
	tab.NotifyLeave(mlNode(second))
	if _, ok := tab.peer(nodeID(2)); ok {
		t.Fatal("still alive")
	}
}

func TestTableAndItself(t *testing.T) {
	var later []uint64
	tab := testTable(func(boot uint64) { later = append(later, boot) })
	for _, boot := range []uint64{4, 5, 6} {
		tab.NotifyJoin(mlNode(Peer{ID: nodeID(1), Boot: boot}))
	}
	if len(tab.all()) != 0 || len(later) != 1 || later[0] != 6 {
		t.Fatalf("peers %v, later starts %v", tab.all(), later)
	}
}

func TestTableIsBoundedAndCounts(t *testing.T) {
	tab := testTable(nil)
	for i := range maxPeers + 3 {
		tab.byName[nodeName(ring.NodeID{9, byte(i >> 8), byte(i)}, 1)] = Peer{}
		if len(tab.byName) == maxPeers {
			break
		}
	}
	tab.NotifyJoin(mlNode(Peer{ID: nodeID(2), Boot: 1}))
	tab.NotifyJoin(&memberlist.Node{Name: "stranger", Meta: []byte("x")})
	tab.NotifyJoin(&memberlist.Node{Name: "stranger", Meta: Peer{ID: nodeID(3), Boot: 1}.encode(0)})
	if got := testutil.ToFloat64(tab.dropped); got != 3 || len(tab.byName) != maxPeers {
		t.Fatalf("dropped %v, kept %d", got, len(tab.byName))
	}
}

func TestMetaFits(t *testing.T) {
	long := strings.Repeat("a", state.MaxAddressBytes)
	p := Peer{ID: nodeID(1), Boot: state.MaxBoot, RPC: long, HTTP: long, MapHash: 1<<64 - 1}
	b := p.encode(maxPad)
	if len(b) > memberlist.MetaMaxSize {
		t.Fatalf("%d bytes", len(b))
	}
	got, err := decodeMeta(b)
	if err != nil || got != p {
		t.Fatalf("got %+v, %v", got, err)
	}
	short := Peer{ID: nodeID(1), Boot: 3, RPC: "a:1", HTTP: "a:2", MapHash: 9}
	const golden = "010a10010000000000000000000000000000ee10031a03613a312203613a32290900000000000000"
	if got := hex.EncodeToString(short.encode(0)); got != golden {
		t.Errorf("the format changed, other releases cannot read it: %s", got)
	}
	if got, err := decodeMeta(short.encode(3)); err != nil || got != short {
		t.Errorf("padded: %+v, %v", got, err)
	}
	// A newer release may say more.
	if got, err := decodeMeta(append(b, 0x38, 0x01)); err != nil || got != p {
		t.Fatalf("got %+v, %v", got, err)
	}
	if name := nodeName(p.ID, p.Boot); len(clusterLabel([16]byte{})) > memberlist.LabelMaxSize || len(name) > 64 {
		t.Fatalf("label or name %q too long", name)
	}
}

func FuzzDecodeMeta(f *testing.F) {
	f.Add(Peer{ID: nodeID(1), Boot: 3, RPC: "a:1", HTTP: "a:2", MapHash: 9}.encode(0))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := decodeMeta(b)
		if err != nil {
			return
		}
		if again, err := decodeMeta(p.encode(0)); err != nil || again != p {
			t.Fatalf("%+v became %+v, %v", p, again, err)
		}
	})
}

func TestLogLevels(t *testing.T) {
	var log strings.Builder
	w := logWriter{slog.New(slog.NewTextHandler(&log, nil))}
	for _, line := range []string{"[DEBUG] memberlist: quiet\n", "[INFO] memberlist: quiet\n", "[ERR] memberlist: told\n", "odd\n"} {
		if n, err := w.Write([]byte(line)); n != len(line) || err != nil {
			t.Fatal(n, err)
		}
	}
	if got := log.String(); strings.Contains(got, "quiet") || !strings.Contains(got, `"memberlist: told"`) || !strings.Contains(got, `"memberlist: odd"`) {
		t.Fatalf("got %s", got)
	}
}
