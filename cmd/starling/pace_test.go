package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"starling/client"
)

// pacedCluster is three fake nodes that do as they are told, of which the second
// holds its transfers and the third slows them down.
func pacedCluster(t *testing.T) []*fakeNode {
	const setting = 64 << 20
	evening := time.Date(2026, 3, 1, 21, 0, 0, 0, time.UTC)
	var nodes []*fakeNode
	for _, doc := range []paceDoc{
		{BytesPerSecond: setting, Setting: setting},
		{Held: true, Setting: setting, Until: evening},
		{BytesPerSecond: 1 << 20, Setting: setting, Until: evening.Add(250 * time.Millisecond)},
	} {
		f := newFakeNode(t)
		f.docs[pacePath] = func(r *http.Request) any {
			switch r.Method {
			case http.MethodPut:
				var asked struct {
					Rate    int64 `json:"bytes_per_second"`
					Seconds int64 `json:"seconds"`
				}
				if err := json.Unmarshal(f.body, &asked); err != nil || r.Header.Get("Content-Type") != "application/json" {
					t.Errorf("%q as %s: %v", f.body, r.Header.Get("Content-Type"), err)
				}
				doc.BytesPerSecond, doc.Held = asked.Rate, asked.Rate == 0
				doc.Until = evening.Add(time.Duration(asked.Seconds) * time.Second)
			case http.MethodDelete:
				doc = paceDoc{BytesPerSecond: setting, Setting: setting}
			}
			return doc
		}
		nodes = append(nodes, f)
	}
	reach(nodes, func([]map[string]any) {})
	return nodes
}

func TestPaceGolden(t *testing.T) {
	nodes := pacedCluster(t)
	c := newCLI(t, nodes[0].URL)
	wantGolden(t, c, "pace", exitDone, "cluster", "pace")
	wantGolden(t, c, "pace-one", exitDone, "cluster", "pace", "1536KiB", "--for", "90m", "--node", "n3")
	wantGolden(t, c, "pace-hold", exitDone, "cluster", "pace", "hold")
	wantGolden(t, c, "pace-default", exitDone, "cluster", "pace", "default")
	// The second is of a release without it.
	delete(nodes[1].docs, pacePath)
	at := strings.TrimPrefix(nodes[1].URL, "http://")
	for format, suffix := range map[string]string{outputTable: "txt", outputJSON: "json"} {
		got := c.run("cluster", "pace", "hold", "-o", format)
		if got.code != exitFailed || !strings.Contains(got.err, "not done at n2: ") || !strings.Contains(got.err, "The detail.") {
			t.Errorf("%+v", got)
		}
		golden(t, "pace-ill."+suffix, strings.ReplaceAll(got.out, at, "ADDRESS"))
	}
}

// What is asked reaches the members that are meant, and no other.
func TestPaceRequests(t *testing.T) {
	nodes := pacedCluster(t)
	c := newCLI(t, nodes[0].URL)
	for _, tc := range []struct {
		args   string
		method string
		body   string
		asked  []bool
	}{
		{"", "GET", "", []bool{true, true, true}},
		{"--node n2", "GET", "", []bool{false, true, false}},
		{"hold", "PUT", `{"bytes_per_second":0,"seconds":3600}`, []bool{true, true, true}},
		{"hold --for 1s --node n3 --node n1", "PUT", `{"bytes_per_second":0,"seconds":1}`, []bool{true, false, true}},
		{"hold --for 1500ms --node n2 --node n2", "PUT", `{"bytes_per_second":0,"seconds":2}`, []bool{false, true, false}},
		{"64KiB --for 24h", "PUT", `{"bytes_per_second":65536,"seconds":86400}`, []bool{true, true, true}},
		{"68719476736 --node " + strings.Repeat("3", 32), "PUT", `{"bytes_per_second":68719476736,"seconds":3600}`, []bool{false, false, true}},
		{"default --node n1", "DELETE", "", []bool{true, false, false}},
	} {
		for _, f := range nodes {
			f.last = nil
		}
		if got := c.run(append([]string{"cluster", "pace"}, strings.Fields(tc.args)...)...); got.code != exitDone || got.err != "" {
			t.Errorf("pace %s: %+v", tc.args, got)
		}
		for i, f := range nodes {
			asked := f.last != nil && f.last.URL.Path == pacePath
			if asked != tc.asked[i] {
				t.Errorf("pace %s: n%d was asked: %v", tc.args, i+1, asked)
			}
			if asked && (f.last.Method != tc.method || string(f.body) != tc.body) {
				t.Errorf("pace %s: n%d was asked %s %q", tc.args, i+1, f.last.Method, f.body)
			}
		}
	}
}

// Who only asks passes over the dead; who changes something learns that it was
// not done.
func TestPaceOfSilentMembers(t *testing.T) {
	nodes := pacedCluster(t)
	c := newCLI(t, nodes[0].URL)
	dead := refusing(t)
	one := func(alive bool) func(m []map[string]any) {
		return func(m []map[string]any) { m[1]["http"], m[1]["alive"] = dead, alive }
	}
	all := func(m []map[string]any) {
		for i := range m {
			m[i]["http"] = dead
		}
	}
	gone := func(m []map[string]any) { m[1]["http"], m[1]["alive"], m[1]["state"] = dead, false, "removed" }
	for name, tc := range map[string]struct {
		change func(m []map[string]any)
		args   string
		code   int
		says   string
	}{
		"shown, one dead":     {one(false), "", exitDone, "n2 is not alive and was passed over"},
		"shown, one silent":   {one(true), "", exitFailed, "n2 did not answer: "},
		"shown, all silent":   {all, "", exitUnreachable, "refused"},
		"held, one dead":      {one(false), "hold", exitFailed, "not done at n2: "},
		"held, one silent":    {one(true), "hold", exitFailed, "not done at n2: "},
		"held, all silent":    {all, "hold", exitUnreachable, "n3: "},
		"held, another named": {one(false), "hold --node n1", exitDone, ""},
		"held, dead named":    {one(false), "hold --node n2", exitUnreachable, "n2: "},
		"held, one gone":      {gone, "hold", exitDone, ""},
		"held, gone named":    {gone, "hold --node n2", exitUsage, "no such member"},
	} {
		reach(nodes, tc.change)
		got := c.run(append([]string{"cluster", "pace"}, strings.Fields(tc.args)...)...)
		if got.code != tc.code || !strings.Contains(got.err, tc.says) || tc.says == "" && got.err != "" {
			t.Errorf("%s: exit code %d, want %d; %q, want %q in it", name, got.code, tc.code, got.err, tc.says)
		}
	}
	nodes[0].docs["/v1/cluster"] = map[string]any{"cluster_id": "", "members": []any{}}
	if got := c.run("cluster", "pace", "hold"); got.code != exitFailed || !strings.Contains(got.err, "not joined") {
		t.Errorf("before it has joined: %+v", got)
	}
	reach(nodes, func([]map[string]any) {})
	nodes[2].docs[pacePath] = "hold"
	if got := c.run("cluster", "pace", "hold"); got.code != exitFailed || !strings.Contains(got.err, "not the answer of a Starling node") {
		t.Errorf("an answer of something else: %+v", got)
	}
}

// Names are labels: two members may have one.
func TestMembersNamed(t *testing.T) {
	members := []client.Member{{Name: "n1", ID: "a"}, {Name: "n1", ID: "b"}, {Name: "b", ID: "c"}}
	for names, want := range map[string]string{"": "abc", "a": "a", "b": "b", "b,a": "ab", "c,c": "c", "n1": "the name of a and b", "n1,a": "the name of a and b", "x": "no such member"} {
		var list []string
		if names != "" {
			list = strings.Split(names, ",")
		}
		got, err := membersNamed(append([]client.Member{}, members...), list)
		var text string
		for _, m := range got {
			text += m.ID
		}
		if err != nil {
			text = err.Error()
		}
		if !strings.Contains(text, want) || (err != nil) != (len(want) > 3) {
			t.Errorf("%q: %s, want %s", names, text, want)
		}
	}
}

func TestRates(t *testing.T) {
	for text, want := range map[string]int64{
		"65536": 64 << 10, "64KiB": 64 << 10, "8MiB": 8 << 20, "64GiB": 64 << 30, "65536MiB": 64 << 30, "68719476736": 64 << 30,
		"": 0, "0": 0, "-1": 0, "-8MiB": 0, "65535": 0, "63KiB": 0, "65GiB": 0, "68719476737": 0, "9223372036854775807GiB": 0,
		"8": 0, "8M": 0, "1.5MiB": 0, "8MiB/s": 0, "MiB": 0,
	} {
		got, err := parsePaceChange([]string{text}, time.Hour)
		if body := fmt.Sprintf(`{"bytes_per_second":%d,"seconds":3600}`, want); (err == nil) != (want != 0) || err == nil && string(got.body) != body {
			t.Errorf("%q: %s, %v; want %d", text, got.body, err, want)
		}
	}
}

// A doctor hears of the pace where the node says it, and only then.
func TestDoctorPace(t *testing.T) {
	nodes := fakeNodes(t)
	nodes[1].docs[pacePath] = paceDoc{Held: true, Setting: 1 << 20, Until: time.Date(2026, 3, 1, 21, 0, 0, 0, time.UTC)}
	nodes[2].docs[pacePath] = paceDoc{BytesPerSecond: 1 << 20, Setting: 1 << 20}
	got := newCLI(t, nodes[0].URL).run("doctor", "-o", "json")
	var doc doctorDoc
	if err := json.Unmarshal([]byte(got.out), &doc); err != nil || got.code != exitDone {
		t.Fatalf("%+v, %v", got, err)
	}
	var found []finding
	for _, f := range doc.Findings {
		if f.Check == "pace" {
			found = append(found, f)
		}
	}
	if len(found) != 2 || found[0].Level != levelOK || found[1].Level != levelNote || found[1].Node != "n2" ||
		found[1].Detail != "transfers are held until 2026-03-01T21:00:00Z, the setting is 1.0 MiB/s" || !strings.Contains(found[1].Advice, "starling cluster pace default") {
		t.Errorf("%+v", found)
	}
}
