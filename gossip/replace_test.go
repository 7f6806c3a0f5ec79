package gossip

import (
	"bytes"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"starling/gossip/state"
	"starling/ring"
)

// targets are the partitions that the map places on a member.
func targets(t *testing.T, m state.Map, id ring.NodeID) (list []int) {
	t.Helper()
	v, err := m.View()
	if err != nil {
		t.Fatal(err)
	}
	for p := range v.Ring().Config().Partitions {
		if slices.Contains(v.Ring().Targets(p), id) {
			list = append(list, p)
		}
	}
	return list
}

func TestReplace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newNetwork(t)
		nodes := cluster(t, net, 4)
		eventually(t, 2*time.Second, "one map", agree(nodes, 4))
		dead, heir, g := nodes[3], newNode(t, net, 5), nodes[0].g
		before := targets(t, g.Map(), dead.self.ID)
		heir.join(nodes[0].self.RPC) // on a seat of its own, at first
		nodes = append(nodes, heir)
		eventually(t, 2*time.Second, "one map", agree(nodes, 5))
		dead.crash()
		saves := nodes[0].saves
		if err := g.Replace(dead.self.ID, heir.self.ID, false); err != nil {
			t.Fatal(err)
		}
		if nodes[0].saves != saves+1 {
			t.Errorf("%d saved changes, want one", nodes[0].saves-saves)
		}
		m := nodes[0].saved()
		if r, _ := m.Member(dead.self.ID); r.State != state.Removed || r.Heir != heir.self.ID {
			t.Errorf("saved %+v", r)
		}
		if got := targets(t, m, heir.self.ID); len(before) == 0 || !slices.Equal(got, before) {
			t.Errorf("the heir has partitions %v, the dead had %v", got, before)
		}
		if err := g.Replace(dead.self.ID, heir.self.ID, false); err != nil || nodes[0].saves != saves+1 {
			t.Errorf("again: %v, %d saved changes", err, nodes[0].saves-saves)
		}
		live := []*node{nodes[0], nodes[1], nodes[2], heir}
		eventually(t, 2*time.Second, "one map", agree(live, 5))
		checkReplaceRefuses(t, nodes, dead, heir)

		// The dead node's disk comes back.
		dead.start()
		err := dead.wait()
		if !errors.Is(err, ErrRemoved) || errors.Is(err, ErrLostTime) || !strings.Contains(err.Error(), "n5 ("+heir.self.ID.String()+") has replaced it") {
			t.Errorf("the replaced node: %v", err)
		}
		if err := dead.tryStart(); !errors.Is(err, ErrRemoved) {
			t.Errorf("the replaced node, once more: %v", err)
		}
		leaveAll(live)
	})
}

func checkReplaceRefuses(t *testing.T, nodes []*node, dead, heir *node) {
	t.Helper()
	g, hash := nodes[0].g, nodes[0].g.MapHash()
	for _, tc := range []struct {
		what       string
		dead, heir ring.NodeID
		want       error
	}{
		{"another heir", dead.self.ID, nodes[1].self.ID, state.ErrInvalid},
		{"a second one for the heir", nodes[1].self.ID, heir.self.ID, state.ErrInvalid},
		{"a removed heir", nodes[1].self.ID, dead.self.ID, state.ErrInvalid},
		{"by itself", nodes[1].self.ID, nodes[1].self.ID, state.ErrInvalid},
		{"this node", nodes[0].self.ID, nodes[1].self.ID, state.ErrInvalid},
		{"a stranger", nodeID(9), nodes[1].self.ID, ErrUnknownMember},
		{"by a stranger", nodes[1].self.ID, nodeID(9), ErrUnknownMember},
	} {
		if err := g.Replace(tc.dead, tc.heir, false); !errors.Is(err, tc.want) {
			t.Errorf("%s: %v, want %v", tc.what, err, tc.want)
		}
	}
	if g.MapHash() != hash {
		t.Error("refused, and changed the map")
	}
}

// TestReplaceAtTheFirstStart: a new node takes the place of a dead one, and its name, in the change that makes it a member.
func TestReplaceAtTheFirstStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newNetwork(t)
		nodes := cluster(t, net, 4)
		eventually(t, 2*time.Second, "one map", agree(nodes, 4))
		dead := nodes[3]
		dead.crash()
		before := targets(t, nodes[0].g.Map(), dead.self.ID)
		fresh := newNode(t, net, 5)
		fresh.self.Name = dead.self.Name
		o := fresh.joinOptions(nodes[0].self.RPC)
		o.Replace = "n4"
		m, err := Join(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		fresh.disk, fresh.replace = m, dead.self.ID
		fresh.breakDisk(errDisk)
		if err := fresh.tryStart(); !errors.Is(err, errDisk) {
			t.Fatalf("started without a disk: %v", err)
		}
		fresh.breakDisk(nil)
		fresh.start()
		if fresh.saves != 1 {
			t.Errorf("%d saved changes, want one", fresh.saves)
		}
		// A process that dies here, with nobody told, starts again from what it saved.
		fresh.crash()
		fresh.start()
		live := append(nodes[:3:3], fresh)
		eventually(t, 2*time.Second, "one map", agree(live, 5))
		m = nodes[0].g.Map()
		r, _ := m.Member(dead.self.ID)
		if heir, _ := m.Member(fresh.self.ID); r.State != state.Removed || r.Heir != fresh.self.ID || heir.State != state.Joining || heir.Name != "n4" {
			t.Errorf("the dead %+v, the heir %+v", r, heir)
		}
		if got := targets(t, m, fresh.self.ID); len(before) == 0 || !slices.Equal(got, before) {
			t.Errorf("the heir has partitions %v, the dead had %v", got, before)
		}
		// Who is a member replaces nobody by being started.
		fresh.crash()
		fresh.replace = nodes[2].self.ID
		fresh.start()
		eventually(t, 2*time.Second, "one map", agree(live, 5))
		if r, _ := nodes[0].g.Map().Member(nodes[2].self.ID); r.State == state.Removed {
			t.Error("the second start replaced a member")
		}
		leaveAll(live)
	})
}

// TestReplacedByAnother: the place is gone when the new node comes.
func TestReplacedByAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nodes := cluster(t, newNetwork(t), 3)
		eventually(t, 2*time.Second, "one map", agree(nodes, 3))
		nodes[2].crash()
		if err := nodes[0].g.Replace(nodes[2].self.ID, nodes[1].self.ID, false); err != nil {
			t.Fatal(err)
		}
		fresh := newNode(t, nodes[0].net, 4)
		fresh.disk, fresh.replace = nodes[0].g.Map(), nodes[2].self.ID
		if err := fresh.tryStart(); !errors.Is(err, state.ErrInvalid) || fresh.saves > 0 {
			t.Errorf("started with %d saved changes: %v", fresh.saves, err)
		}
		leaveAll(nodes[:2])
	})
}

// journal is a log that is read while it is written.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

// TestLostDisk: a node whose data directory is empty comes back under another name, and says what can be done.
func TestLostDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newNetwork(t)
		nodes := cluster(t, net, 3)
		eventually(t, 2*time.Second, "one map", agree(nodes, 3))
		nodes[2].crash()
		lose := func(n int) (*node, *journal) {
			d, log := newNode(t, net, n), &journal{}
			d.self.Name, d.logger = "n3", slog.New(slog.NewTextHandler(log, nil))
			d.move(3)
			return d, log
		}
		fresh, log := lose(4)
		fresh.join(nodes[0].self.RPC)
		for _, want := range []string{
			"the store of n3 (id " + nodeID(3).String() + ") is not here", "joins as a new member n3-2",
			"starling cluster replace n3 --by n3-2", "starling cluster remove n3", "level=WARN",
		} {
			if !strings.Contains(log.String(), want) {
				t.Errorf("the log does not say %q: %s", want, log)
			}
		}
		live := []*node{nodes[0], nodes[1], fresh}
		eventually(t, 2*time.Second, "one map", agree(live, 4))
		if r, _ := nodes[0].g.Map().Member(nodeID(3)); r.State == state.Removed || r.Name != "n3" {
			t.Errorf("the member of the lost store: %+v", r)
		}
		wantName(t, nodes[0], fresh, "n3-2")

		// It keeps that name as long as the other is taken.
		fresh.crash()
		fresh.start()
		eventually(t, 2*time.Second, "one map", agree(live, 4))
		wantName(t, nodes[0], fresh, "n3-2")
		if !strings.Contains(log.String(), "is the member n3-2") {
			t.Errorf("the next start says %s", log)
		}

		// The next disk is lost as well.
		fresh.crash()
		third, _ := lose(5)
		third.join(nodes[0].self.RPC)
		live[2] = third
		eventually(t, 2*time.Second, "one map", agree(live, 5))
		wantName(t, nodes[0], third, "n3-3")

		if err := nodes[0].g.Replace(nodeID(3), third.self.ID, false); err != nil {
			t.Fatal(err)
		}
		eventually(t, 2*time.Second, "one map", agree(live, 5))
		third.crash()
		third.start()
		eventually(t, 2*time.Second, "one map", agree(live, 5))
		wantName(t, nodes[0], third, "n3")
		leaveAll(live)
	})
}

func wantName(t *testing.T, at, of *node, want string) {
	t.Helper()
	if r, _ := at.g.Map().Member(of.self.ID); r.Name != want {
		t.Errorf("the name is %q, want %q", r.Name, want)
	}
}

// TestTakenNames: only who has the address of a member that cannot run may come under a name that is taken.
func TestTakenNames(t *testing.T) {
	member := func(n int, name, rpc string) state.Member {
		return state.Member{ID: nodeID(n), Name: name, RPC: rpc, State: state.Active, Boot: 1, Version: state.FirstVersion(1), Weight: 100}
	}
	m := state.Map{Settings: testSettings()}.With(member(1, "n1", "a:1")).With(member(2, "n1-2", "b:1")).With(member(3, "n3", "c:1"))
	for _, tc := range []struct {
		what string
		self state.Member
		want string // "" is ErrNameTaken
	}{
		{"a free name", member(9, "n9", "a:1"), "n9"},
		{"the address of the member of that name", member(9, "n1", "a:1"), "n1-3"},
		{"another address", member(9, "n1", "x:1"), ""},
		{"the address of a third", member(9, "n1", "c:1"), ""},
		{"no address", member(9, "n1", ""), ""},
		{"its own name", member(3, "n3", "c:1"), "n3"},
		{"a member, to another's name", member(3, "n1", "a:1"), ""},
		{"a numbered member, its base", member(2, "n1", "b:1"), "n1-2"},
		{"a numbered member, another base", member(2, "n3", "b:1"), ""},
	} {
		after, err := enter(m, tc.self, ring.NodeID{})
		r, _ := after.Member(tc.self.ID)
		if tc.want == "" && !errors.Is(err, state.ErrNameTaken) || tc.want != "" && (err != nil || r.Name != tc.want) {
			t.Errorf("%s: named %q, %v, want %q", tc.what, r.Name, err, tc.want)
		}
	}
	for name, want := range map[string]bool{"n1-2": true, "n1-17": true, "n1-1": false, "n1-": false, "n1": false, "n1-x": false, "n2-2": false} {
		if isNumbered(name, "n1") != want {
			t.Errorf("%s is numbered: %v", name, !want)
		}
	}
}

// What takes a member out of the ring, or moves it there, raises the fence in
// the same change: a ring that is what it was before has other stamps then.
func TestChangesOfTheRingRaiseTheFence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newNetwork(t)
		nodes := cluster(t, net, 3)
		eventually(t, 2*time.Second, "one map", agree(nodes, 3))
		g, other := nodes[0].g, nodes[1]
		for _, step := range []struct {
			what string
			do   func() error
			want uint64
		}{
			{"nothing", func() error { return nil }, 0},
			{"leaving", func() error { return g.Advance(other.self.ID, state.Leaving) }, 1},
			{"removed", func() error { return g.Advance(other.self.ID, state.Removed) }, 2},
			{"removed again", func() error { return g.Advance(other.self.ID, state.Removed) }, 2},
			{"this node leaves", func() error { return g.Update(func(m *state.Member) { m.State = state.Leaving }) }, 3},
		} {
			if err := step.do(); err != nil || g.Map().Fence() != step.want {
				t.Errorf("%s: fence %d, want %d, %v", step.what, g.Map().Fence(), step.want, err)
			}
		}
		_ = other.wait() // it was removed
		leaveAll([]*node{nodes[0], nodes[2]})
	})
	self := state.Member{ID: nodeID(1), Name: "n1", RPC: "h:1", HTTP: "h:2", Gossip: "h:3", Weight: 100, State: state.Active, Boot: 1, Version: 1 << 32}
	before := state.Map{Settings: testSettings()}.With(self)
	for weight, want := range map[uint32]uint64{100: 0, 200: 1} {
		self.Boot, self.Weight = 2, weight
		if m, err := startRecord(before, self, ring.NodeID{}); err != nil || m.Fence() != want {
			t.Errorf("weight %d: fence %d, want %d, %v", weight, m.Fence(), want, err)
		}
	}
}
