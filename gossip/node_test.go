package gossip

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"starling/gossip/state"
	"starling/ring"
)

// node is one data directory and the process that runs on it now, if any.
type node struct {
	t    *testing.T
	net  *network
	ip   string
	self state.Member

	mu      sync.Mutex
	seeds   []string
	replace ring.NodeID
	logger  *slog.Logger
	disk    state.Map
	saves   int
	saveErr error

	g    *Gossip
	host *host
	stop context.CancelFunc
	done chan struct{} // closed with err set when Run returns
	err  error
}

func nodeID(n int) ring.NodeID { return ring.NodeID{0: byte(n), 15: 0xee} }

func newNode(t *testing.T, net *network, n int) *node {
	d := &node{t: t, net: net, self: state.Member{ID: nodeID(n), Name: fmt.Sprintf("n%d", n), Weight: 100}}
	d.move(n)
	net.nodes = append(net.nodes, d)
	return d
}

// move changes the address for the next start.
func (d *node) move(n int) {
	d.ip = fmt.Sprintf("10.0.0.%d", n)
	d.self.HTTP, d.self.RPC, d.self.Gossip = d.ip+":4700", d.ip+":4701", d.ip+":4702"
}

func (d *node) save(m state.Map) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.saveErr != nil {
		return d.saveErr
	}
	d.disk = m
	d.saves++
	return nil
}

func (d *node) saved() state.Map {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.disk
}

func (d *node) options() Options {
	return Options{Self: d.self, Map: d.saved(), Save: d.save, Exchanger: exchanger{d.net, d.ip},
		Seeds: d.seeds, Transport: d.host, Replace: d.replace, Logger: d.logger}
}

// start boots the process, which must come up.
func (d *node) start() {
	d.t.Helper()
	if err := d.tryStart(); err != nil {
		d.t.Fatalf("%s: %v", d.self.Name, err)
	}
}

func (d *node) tryStart() error {
	d.self.Boot++
	d.host = d.net.plug(d.self.Gossip)
	g, err := New(d.options())
	if err != nil {
		d.host.unplug()
		return err
	}
	d.g = g
	d.net.serve(d.self.RPC, g)
	var ctx context.Context
	ctx, d.stop = context.WithCancel(context.Background())
	d.done = make(chan struct{})
	go func() {
		defer close(d.done)
		d.err = g.Run(ctx)
	}()
	return nil
}

// wait waits for Run to end by itself.
func (d *node) wait() error {
	<-d.done
	return d.err
}

// leave stops the process as SIGTERM does and returns what Run returned.
func (d *node) leave() error {
	d.net.serve(d.self.RPC, nil)
	d.stop()
	return d.wait()
}

// crash stops the process as SIGKILL does: nobody hears of it.
func (d *node) crash() {
	d.host.unplug()
	_ = d.leave()
}

func testSettings() state.Settings {
	return state.Settings{Cluster: [16]byte{0xc1}, Partitions: 16, Replicas: 3, HashVersion: state.HashVersion, Secret: [32]byte{7}}
}

// found makes the node the first of a new cluster.
func (d *node) found() {
	d.t.Helper()
	d.foundWith(testSettings())
}

func (d *node) foundWith(s state.Settings) {
	d.t.Helper()
	self := d.self
	self.Boot = 1
	m, err := NewCluster(s, self)
	if err != nil {
		d.t.Fatal(err)
	}
	d.disk = m
	d.start()
}

// join makes the node a member of another's cluster.
func (d *node) join(addrs ...string) {
	d.t.Helper()
	m, err := Join(context.Background(), d.joinOptions(addrs...))
	if err != nil {
		d.t.Fatal(err)
	}
	d.disk = m
	d.start()
}

func (d *node) joinOptions(addrs ...string) JoinOptions {
	return JoinOptions{Addrs: addrs, Fetch: exchanger{d.net, d.ip}, ID: d.self.ID, Name: d.self.Name, RPC: d.self.RPC}
}

// cluster starts n nodes that belong together.
func cluster(t *testing.T, net *network, n int) []*node {
	t.Helper()
	var nodes []*node
	for i := range n {
		d := newNode(t, net, i+1)
		if i == 0 {
			d.found()
		} else {
			d.join(nodes[0].self.RPC)
		}
		nodes = append(nodes, d)
	}
	return nodes
}

func leaveAll(nodes []*node) {
	var wg sync.WaitGroup
	for _, d := range nodes {
		wg.Go(func() {
			if err := d.leave(); err != nil {
				d.t.Errorf("%s: Run: %v", d.self.Name, err)
			}
		})
	}
	wg.Wait()
}

// eventually waits, in the virtual time of a bubble, until ok holds.
func eventually(t *testing.T, within time.Duration, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(within); !ok(); {
		if time.Now().After(deadline) {
			t.Fatalf("after %v still not: %s", within, what)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// agree says whether all nodes have one map of so many records.
func agree(nodes []*node, records int) func() bool {
	return func() bool {
		for _, d := range nodes {
			if d.g.MapHash() != nodes[0].g.MapHash() || len(d.g.Map().Members) != records {
				return false
			}
		}
		return true
	}
}

// alive says whether all nodes believe each other alive.
func alive(nodes []*node) func() bool {
	return func() bool {
		for _, d := range nodes {
			for _, e := range nodes {
				if !d.g.Alive(e.self.ID) {
					return false
				}
			}
		}
		return true
	}
}
