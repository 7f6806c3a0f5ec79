package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"starling/client"
)

// wellPatients are three members of whom there is nothing to say.
func wellPatients() []patient {
	var list []patient
	for i := range 3 {
		name := fmt.Sprint("n", i+1)
		p := patient{
			Member: client.Member{Name: name, ID: strings.Repeat(fmt.Sprint(i+1), 32), State: "active", Alive: true, HTTP: "10.0.0." + fmt.Sprint(i+1) + ":4700"},
			host: &hostDoc{Node: name, ID: strings.Repeat(fmt.Sprint(i+1), 32), ClusterID: "c", Version: "v1.2.0", Revision: "0123456789abcdef",
				Settings: []hostSetting{{"name", name, "env"}, {"durability", "sync", "default"}, {"cache_bytes", "1GiB", "file"}, {"test_clock_offset", "0s", "default"}}},
			offset: time.Hour, spread: time.Millisecond, // the machine that asks is an hour behind
			reach:   &reachDoc{Node: name},
			pace:    &paceDoc{Node: name, BytesPerSecond: 64 << 20, Setting: 64 << 20},
			metrics: samples{"process_max_fds": 65536, "process_open_fds": 100, "starling_store_disk_used_bytes": 10 << 30, "starling_store_disk_free_bytes": 50 << 30},
		}
		for j := range 3 {
			if j != i {
				p.reach.Peers = append(p.reach.Peers, peerReach{Name: fmt.Sprint("n", j+1), Alive: true, UDP: wayDoc{OK: true}, RPC: wayDoc{OK: true}})
			}
		}
		list = append(list, p)
	}
	return list
}

// illPatients have one of everything.
func illPatients() []patient {
	list := wellPatients()
	list = append(list, patient{Member: client.Member{Name: "n4", State: "active"}, hostErr: errors.New("refused")})
	n1, n2, n3 := &list[0], &list[1], &list[2]
	n1.metrics["process_open_fds"] = 60000
	n1.metrics["starling_store_disk_full"] = 1
	n1.reach.Peers[0].UDP = wayDoc{Error: "no answer"}
	n1.reach.Peers[1].RPC, n1.reach.Peers[1].UDP = wayDoc{Error: "refused"}, wayDoc{}
	n1.reach.Peers = append(n1.reach.Peers, peerReach{Name: "n4"}) // who is down is no matter of the network
	n2.reach.Peers[0].Alive = false
	n2.notReady = errors.New("the node is joining\x1b[2J")
	n2.offset += 400 * time.Millisecond
	n2.metrics["process_max_fds"] = 1024
	n2.metrics["starling_store_disk_free_bytes"] = 1 << 30
	n2.host.Version = "v1.3.0"
	n2.host.Settings[1].Value = "interval"
	n3.offset -= 3 * time.Second
	n3.reach, n3.pace = nil, nil
	n1.pace.BytesPerSecond, n1.pace.Until = 8<<20, time.Date(2026, 3, 1, 21, 0, 0, 0, time.UTC)
	n2.pace.BytesPerSecond, n2.pace.Held, n2.pace.Until = 0, true, time.Date(2026, 3, 1, 20, 30, 0, 125e6, time.UTC)
	n3.host.ClusterID = "other"
	n3.host.Settings[3] = hostSetting{"test_clock_offset", "-3s", "env STARLING_TEST_CLOCK_OFFSET"}
	return list
}

func TestDoctorGolden(t *testing.T) {
	for name, patients := range map[string][]patient{"doctor": wellPatients(), "doctor-ill": illPatients()} {
		doc := judge("n1", patients)
		if doc.Healthy != (name == "doctor") {
			t.Errorf("%s: healthy is %v", name, doc.Healthy)
		}
		for _, format := range []string{outputTable, outputJSON} {
			var out bytes.Buffer
			a := &app{out: &out, err: io.Discard, output: format, env: func(string) string { return "" }}
			if err := a.printDoctor(doc); err != nil {
				t.Fatal(err)
			}
			golden(t, name+"."+map[string]string{outputTable: "txt", outputJSON: "json"}[format], out.String())
		}
	}
}

// A clock is held against the others, and what the way took is left out.
func TestClocks(t *testing.T) {
	for name, tc := range map[string]struct {
		offset, spread time.Duration
		level          string
	}{
		"like the others":     {0, 0, ""},
		"a little":            {249 * time.Millisecond, 0, ""},
		"the way took longer": {3 * time.Second, 3 * time.Second, ""},
		"off":                 {-250 * time.Millisecond, 0, levelWarning},
		"far off":             {2 * time.Second, 0, levelProblem},
		"far off, slow way":   {2 * time.Second, 500 * time.Millisecond, levelWarning},
	} {
		list := wellPatients()
		list[1].offset, list[1].spread = time.Hour+tc.offset, tc.spread
		found := checkClocks(list)
		switch {
		case tc.level == "" && len(found) > 0, tc.level != "" && (len(found) != 1 || found[0].Level != tc.level || found[0].Node != "n2"):
			t.Errorf("%s: %+v", name, found)
		}
	}
	if found := checkClocks(nil); found != nil {
		t.Errorf("of nobody: %+v", found)
	}
}

func TestParseSamples(t *testing.T) {
	s := parseSamples([]byte("# HELP a is\n# TYPE a counter\na 2\nb{x=\"a b\",y=\"}\"} 1.5\nb{x=\"c\"} 1e3\nnan NaN\nbroken\n"))
	if len(s) != 2 || s["a"] != 2 || s["b"] != 1001.5 {
		t.Errorf("%v", s)
	}
}

// nodes are members that answer for themselves, but for the last, which is down.
func fakeNodes(t *testing.T) []*fakeNode {
	var list []*fakeNode
	for range 3 {
		list = append(list, newFakeNode(t))
	}
	for i, f := range list {
		p := wellPatients()[i]
		f.docs["/v1/node"] = func(*http.Request) any { p.host.Now = time.Now(); return p.host }
		f.docs["/v1/node/peers"] = p.reach
		f.docs["/readyz"], f.docs["/metrics"] = map[string]any{"status": "ready"}, map[string]any{}
		f.cluster(func(m []map[string]any) {
			for k := range m {
				m[k]["http"] = strings.TrimPrefix(list[k].URL, "http://")
			}
		})
	}
	return list
}

func TestDoctor(t *testing.T) {
	nodes := fakeNodes(t)
	c := newCLI(t, nodes[1].URL)
	if got := c.run("doctor"); got.code != exitDone || !strings.Contains(got.out, "0 problems, 0 warnings at 3 nodes") {
		t.Errorf("%+v", got)
	}
	nodes[2].Close()
	got := c.run("doctor", "-o", "json")
	var doc doctorDoc
	if err := json.Unmarshal([]byte(got.out), &doc); err != nil || got.code != exitUnhealthy || doc.Healthy || len(doc.Nodes) != 3 {
		t.Fatalf("%+v, %v", got, err)
	}
	if f := doc.Findings[0]; f.Check != "answers" || f.Level != levelProblem || f.Node != "n3" {
		t.Errorf("%+v", f)
	}
	if got := newCLI(t, nodes[2].URL).run("doctor"); got.code != exitUnreachable {
		t.Errorf("without any node: %+v", got)
	}
}
