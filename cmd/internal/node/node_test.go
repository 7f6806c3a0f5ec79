package node

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"starling/config"
	"starling/gossip/state"
	"starling/ring"
)

// proc is a node that runs in this process.
type proc struct {
	*Node
	t    *testing.T
	stop context.CancelFunc
	done chan error
}

// launch makes and runs a node on free loopback ports.
func launch(t *testing.T, dir, name string, env ...string) *proc {
	t.Helper()
	n, err := New(Options{Config: configure(t, dir, name, env...), Version: "test", Logger: slog.New(slog.NewTextHandler(testWriter{t}, nil))})
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	ctx, stop := context.WithCancel(context.Background())
	p := &proc{Node: n, t: t, stop: stop, done: make(chan error, 1)}
	go func() { p.done <- n.Run(ctx) }()
	t.Cleanup(p.shut)
	return p
}

func configure(t *testing.T, dir, name string, env ...string) config.Config {
	t.Helper()
	cfg, err := config.Load(nil, append([]string{
		"STARLING_NAME=" + name, "STARLING_DATA_DIR=" + dir, "STARLING_HTTP=127.0.0.1:0", "STARLING_RPC=127.0.0.1:0",
		"STARLING_GOSSIP=127.0.0.1:0", "STARLING_CACHE_BYTES=8MiB", "STARLING_FREE_FLOOR_BYTES=1MiB"}, env...))
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(b []byte) (int, error) {
	w.t.Logf("%s", b)
	return len(b), nil
}

// shut stops the node and wants a clean end; a node that has ended is fine.
func (p *proc) shut() {
	p.stop()
	if p.done == nil {
		return
	}
	if err := <-p.done; err != nil {
		p.t.Errorf("%s ended with %v", p.cfg.Name, err)
	}
	p.done = nil
}

// ended waits for a node that stops by itself and returns why.
func (p *proc) ended() string {
	p.t.Helper()
	select {
	case err := <-p.done:
		p.done = nil
		if err == nil {
			p.t.Fatalf("%s ended without an error", p.cfg.Name)
		}
		return err.Error()
	case <-time.After(time.Minute):
		p.t.Fatalf("%s goes on running", p.cfg.Name)
		return ""
	}
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("gave up waiting for: %s", what)
		}
	}
}

func (p *proc) ready() bool { return p.Ready() == nil }

func wantAll(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("message %q lacks %q", text, part)
		}
	}
}

func (p *proc) request(method, path, body string) (int, string) {
	p.t.Helper()
	req, err := http.NewRequest(method, "http://"+p.HTTPAddr()+path, strings.NewReader(body))
	if err != nil {
		p.t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b)
}

// form launches n nodes at once and waits until nothing is pending anywhere
// and all place every partition alike.
func form(t *testing.T, n int, env ...string) []*proc {
	t.Helper()
	nodes := []*proc{launch(t, t.TempDir(), "n1", env...)}
	for i := 2; i <= n; i++ {
		nodes = append(nodes, launch(t, t.TempDir(), fmt.Sprint("n", i), append(env, "STARLING_JOIN="+nodes[0].RPCAddr())...))
	}
	eventually(t, "all active and nothing pending in one map", func() bool {
		for _, p := range nodes {
			if !p.ready() || p.Pending() > 0 || cluster.Map(cluster{p.Node}).Hash() != cluster.Map(cluster{nodes[0].Node}).Hash() {
				return false
			}
		}
		return len(cluster.Map(cluster{nodes[0].Node}).Members) == n
	})
	eventually(t, "all place every partition alike, and none moves", func() bool {
		_, moving := survey(nodes[0].coord.View(), func(ring.NodeID) bool { return true })
		return moving == 0 && !slices.ContainsFunc(nodes[1:], func(p *proc) bool { return !samePlacement(p, nodes[0]) })
	})
	return nodes
}

// samePlacement compares the views that two nodes route by.
func samePlacement(a, b *proc) bool {
	va, vb := a.coord.View(), b.coord.View()
	for p := range va.Ring().Config().Partitions {
		if va.Placement(p).Stamp != vb.Placement(p).Stamp {
			return false
		}
	}
	return true
}

func TestFreshNodesFormOneCluster(t *testing.T) {
	nodes := form(t, 5, "STARLING_PARTITIONS=64")
	v := nodes[0].coord.View()
	for p := range 64 {
		if pl := v.Placement(p); len(pl.Owners) != 3 || len(pl.Pending) != 0 {
			t.Errorf("partition %d: %d owners, %d pending", p, len(pl.Owners), len(pl.Pending))
		}
	}
	for i, n := range nodes {
		if code, body := n.request("PUT", "/v1/buckets/b/keys/k"+fmt.Sprint(i), "v"); code != 204 {
			t.Errorf("PUT at %s: %d %s", n.cfg.Name, code, body)
		}
		if code, _ := n.request("GET", "/readyz", ""); code != 200 {
			t.Errorf("readyz of %s: %d", n.cfg.Name, code)
		}
	}
}

// The same directory under new ports is the same member with its data.
func TestRestartKeepsIdentityUnderANewAddress(t *testing.T) {
	dir := t.TempDir()
	nodes := form(t, 3, "STARLING_PARTITIONS=16")
	moved := launch(t, dir, "n4", "STARLING_JOIN="+nodes[0].RPCAddr())
	eventually(t, "n4 to be active", moved.ready)
	id, owned := moved.id, moved.coord.View().OwnedBy(moved.id)
	// Those who gave partitions to it part with them one after the other, and a put
	// that meets each of these changes may be refused, to be repeated.
	eventually(t, "a put at all through n4", func() bool {
		code, _ := moved.request("PUT", "/v1/buckets/b/keys/k?consistency=all", "v")
		return code == 204
	})
	moved.shut()
	back := launch(t, dir, "n4", "STARLING_JOIN="+nodes[0].RPCAddr())
	eventually(t, "n4 to be ready again", back.ready)
	if back.id != id || back.coord.View().OwnedBy(id) != owned {
		t.Fatalf("identity %v with %d partitions became %v with %d", id, owned, back.id, back.coord.View().OwnedBy(back.id))
	}
	eventually(t, "n1 to know the new address", func() bool {
		m, _ := nodes[0].gossip.Load().Map().Member(id)
		return m.RPC == back.RPCAddr() && members.Alive(members{nodes[0].Node}, id)
	})
	eventually(t, "a put at all through n1", func() bool {
		code, _ := nodes[0].request("PUT", "/v1/buckets/b/keys/k2?consistency=all", "v")
		return code == 204
	})
	if n := len(nodes[0].gossip.Load().Map().Members); n != 4 {
		t.Fatalf("%d members, want 4", n)
	}
}

func TestASingleNodeServesAndRestartsAlone(t *testing.T) {
	dir := t.TempDir()
	n := launch(t, dir, "n1", "STARLING_PARTITIONS=16")
	eventually(t, "ready", n.ready)
	if code, body := n.request("PUT", "/v1/buckets/b/keys/k", "v"); code != 204 {
		t.Fatalf("PUT: %d %s", code, body)
	}
	cluster := n.gossip.Load().Map().Settings.Cluster
	n.shut()
	n = launch(t, dir, "n1")
	eventually(t, "ready", n.ready)
	if got := n.gossip.Load().Map().Settings.Cluster; got != cluster {
		t.Fatalf("cluster %x became %x", cluster, got)
	}
	if code, body := n.request("GET", "/v1/buckets/b/keys/k", ""); code != 200 || body != "v" {
		t.Fatalf("GET: %d %s", code, body)
	}
}

// A node told to join waits for its peer and creates nothing meanwhile.
func TestAJoinerWaitsForAPeer(t *testing.T) {
	first := launch(t, t.TempDir(), "n1", "STARLING_PARTITIONS=16")
	eventually(t, "n1 ready", first.ready)
	addr := first.RPCAddr()
	dir := first.cfg.DataDir
	first.shut()

	joiner := launch(t, t.TempDir(), "n2", "STARLING_JOIN="+addr)
	eventually(t, "the joiner to answer HTTP", func() bool {
		code, _ := joiner.request("GET", "/healthz", "")
		return code == 200
	})
	if code, _ := joiner.request("GET", "/readyz", ""); code != 503 {
		t.Fatalf("readyz of a node without a cluster: %d", code)
	}
	if code, body := joiner.request("PUT", "/v1/buckets/b/keys/k", "v"); code != 503 {
		t.Fatalf("PUT at a node without a cluster: %d %s", code, body)
	}
	first = launch(t, dir, "n1", "STARLING_RPC="+addr)
	eventually(t, "the joiner to be ready", joiner.ready)
	if a, b := first.gossip.Load().Map().Settings.Cluster, joiner.gossip.Load().Map().Settings.Cluster; a != b {
		t.Fatalf("two clusters: %x and %x", a, b)
	}
}

func TestWrongStartsAreRefusedWithAWayOut(t *testing.T) {
	first := launch(t, t.TempDir(), "n1", "STARLING_PARTITIONS=16")
	other := launch(t, t.TempDir(), "m1", "STARLING_PARTITIONS=16")
	eventually(t, "both ready", func() bool { return first.ready() && other.ready() })
	dir := t.TempDir()
	second := launch(t, dir, "n2", "STARLING_JOIN="+first.RPCAddr())
	eventually(t, "n2 ready", second.ready)
	second.shut()

	t.Run("changed N", func(t *testing.T) {
		wantAll(t, launch(t, dir, "n2", "STARLING_REPLICAS=5").ended(), "replicas", "3", "5", dir)
	})
	t.Run("changed Q", func(t *testing.T) {
		wantAll(t, launch(t, dir, "n2", "STARLING_PARTITIONS=32").ended(), "partitions", "16", "32", dir)
	})
	t.Run("wrong cluster", func(t *testing.T) {
		wantAll(t, launch(t, dir, "n2", "STARLING_JOIN="+other.RPCAddr()).ended(), "another one", other.RPCAddr(), "empty data directory")
	})
	t.Run("join with another N", func(t *testing.T) {
		wantAll(t, launch(t, t.TempDir(), "n3", "STARLING_REPLICAS=5", "STARLING_JOIN="+first.RPCAddr()).ended(), "replicas")
	})
	t.Run("name taken", func(t *testing.T) {
		wantAll(t, launch(t, t.TempDir(), "n2", "STARLING_JOIN="+first.RPCAddr()).ended(), "n2", "name")
	})
	t.Run("directory in use", func(t *testing.T) {
		_, err := New(Options{Config: configure(t, first.cfg.DataDir, "n9")})
		if err == nil || !strings.Contains(err.Error(), first.cfg.DataDir) {
			t.Fatalf("error %v, want one that names %s", err, first.cfg.DataDir)
		}
	})
	t.Run("port in use", func(t *testing.T) {
		_, err := New(Options{Config: configure(t, t.TempDir(), "n9", "STARLING_HTTP="+first.HTTPAddr())})
		if err == nil || !strings.Contains(err.Error(), first.HTTPAddr()) {
			t.Fatalf("error %v, want one that names %s", err, first.HTTPAddr())
		}
	})
}

// A copy of a directory that is older than what the cluster knows of the
// node must not serve: it lacks writes that the node acknowledged. The usual
// case is the backup of a clean stop, restored after the node ran once more.
func TestADirectoryThatLostTimeIsRefused(t *testing.T) {
	first := launch(t, t.TempDir(), "n1", "STARLING_PARTITIONS=16")
	eventually(t, "n1 ready", first.ready)
	dir, backup := t.TempDir(), filepath.Join(t.TempDir(), "backup")
	join := "STARLING_JOIN=" + first.RPCAddr()
	second := launch(t, dir, "n2", join)
	eventually(t, "n2 ready", second.ready)
	second.shut()
	for lives := range 3 {
		if err := os.CopyFS(fmt.Sprint(backup, lives), os.DirFS(dir)); err != nil {
			t.Fatal(err)
		}
		second = launch(t, dir, "n2", join)
		eventually(t, "n2 ready, and n1 aware of this life", func() bool {
			m, _ := first.gossip.Load().Map().Member(second.id)
			return second.ready() && m.Boot == second.store.Identity().Boot && m.State == state.Active
		})
		second.shut()
	}
	for lives := range 3 {
		copied := launch(t, fmt.Sprint(backup, lives), "n2", join)
		wantAll(t, copied.ended(), "lost time", "empty data directory")
	}
	back := launch(t, dir, "n2", join) // the directory itself is fine
	eventually(t, "n2 ready", back.ready)
}

// A clean restart that every member has witnessed goes on with the actors it
// had, so that vectors do not grow; one that a member missed takes new ones.
func TestActorsAreKeptOnlyWhenAllMembersAnswered(t *testing.T) {
	nodes := form(t, 2, "STARLING_PARTITIONS=16")
	dir, join := t.TempDir(), "STARLING_JOIN="+nodes[0].RPCAddr()
	third := launch(t, dir, "n3", join)
	eventually(t, "n3 ready and nothing pending", func() bool { return third.ready() && third.Pending() == 0 })
	minted := func(p *proc) int {
		for k := range 200 { // some for every partition
			if code, body := p.request("PUT", fmt.Sprint("/v1/buckets/b/keys/k", k, "?consistency=one"), "v"); code != 204 {
				t.Fatalf("PUT: %d %s", code, body)
			}
		}
		_, text := p.request("GET", "/metrics", "")
		const name = "starling_store_actors_minted_total "
		_, rest, found := strings.Cut(text, "\n"+name)
		if !found {
			t.Fatalf("no metric %s", name)
		}
		var n int
		if _, err := fmt.Sscan(rest, &n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	if n := minted(third); n != 16 {
		t.Fatalf("a new node minted %d actors for 16 partitions", n)
	}
	third.shut()

	third = launch(t, dir, "n3", join)
	eventually(t, "n3 to be vouched for", func() bool { return third.ready() && third.actorsKept.Load() })
	if n := minted(third); n != 0 {
		t.Fatalf("a witnessed restart minted %d actors", n)
	}
	third.shut()

	nodes[1].shut()
	third = launch(t, dir, "n3", join)
	eventually(t, "n3 ready", third.ready)
	if n := minted(third); n != 16 {
		t.Fatalf("a restart that one member missed minted %d actors, want 16", n)
	}
}
