package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"starling/client"
)

func TestGolden(t *testing.T) {
	f := newFakeNode(t)
	c := newCLI(t, f.URL)
	unchanged := func([]map[string]any) {}
	ill := func(m []map[string]any) {
		m[1]["alive"], m[2]["pending"], m[2]["state"] = false, 3, "joining"
		m[1]["answered"], m[1]["hints"], m[1]["breaker"], m[1]["usable"] = false, 0, "open", false
		m[2]["breaker"], m[2]["draining"] = "half_open", true
		m[0]["zone"] = "rack\x1b[31m-1" // an escape sequence must not reach the terminal
	}
	for _, tc := range []struct {
		name   string
		change func([]map[string]any)
		code   int
		args   []string
	}{
		{"status", unchanged, 0, []string{"status"}},
		{"status-ill", ill, 4, []string{"status"}},
		{"ring", unchanged, 0, []string{"ring"}},
		{"ring-all", unchanged, 0, []string{"ring", "--all"}},
		{"explain", unchanged, 0, []string{"explain", "carts", "a/b"}},
		{"explain-nothing", unchanged, 0, []string{"explain", "carts", "nothing"}},
		{"where", unchanged, 0, []string{"where", "carts", "a/b"}},
		{"put", unchanged, 0, []string{"put", "carts", "alice", "v"}},
		{"get", unchanged, 0, []string{"get", "carts", "alice"}},
		{"delete", unchanged, 0, []string{"delete", "carts", "alice"}},
		{"add", unchanged, 0, []string{"add", "visits", "home", "-43"}},
		{"previous", unchanged, 0, []string{"get", "sessions", "alice", "--previous"}},
	} {
		f.cluster(tc.change)
		if tc.code != exitDone {
			doc := illConvergence()
			delete(doc, "pairs") // they are not asked for
			f.docs["/v1/convergence"] = doc
		}
		for _, format := range []string{outputTable, outputJSON} {
			got := c.run(append(tc.args, "-o", format)...)
			if got.code != tc.code {
				t.Errorf("%s as %s: exit code %d, want %d; %s", tc.name, format, got.code, tc.code, got.err)
			}
			golden(t, tc.name+"."+map[string]string{outputTable: "txt", outputJSON: "json"}[format], got.out)
			if format == outputJSON && !json.Valid([]byte(got.out)) {
				t.Errorf("%s: no JSON", tc.name)
			}
		}
	}
}

func TestStatusOfARemovedMember(t *testing.T) {
	f := newFakeNode(t)
	f.cluster(func(m []map[string]any) { m[2]["state"], m[2]["alive"], m[2]["settled"] = "removed", false, 0 })
	if got := newCLI(t, f.URL).run("status"); got.code != 0 {
		t.Errorf("exit code %d: %s", got.code, got.out)
	}
}

// A member that is alive and does not answer this node is not well.
func TestStatusOfAnOpenBreaker(t *testing.T) {
	f := newFakeNode(t)
	f.cluster(func(m []map[string]any) { m[1]["breaker"] = "open" })
	if got := newCLI(t, f.URL).run("status"); got.code != 4 || !strings.Contains(got.out, "n1 sends no requests to n2") {
		t.Errorf("exit code %d: %s", got.code, got.out)
	}
	f.cluster(func(m []map[string]any) { m[1]["breaker"] = "half_open" })
	if got := newCLI(t, f.URL).run("status"); got.code != 0 {
		t.Errorf("exit code %d: %s", got.code, got.out)
	}
}

func TestStatusBeforeJoining(t *testing.T) {
	f := newFakeNode(t)
	f.docs["/v1/cluster"] = map[string]any{"cluster_id": "", "members": []any{}}
	if got := newCLI(t, f.URL).run("status"); got.code != 4 || !strings.Contains(got.out, "not joined") {
		t.Errorf("exit code %d: %s", got.code, got.out)
	}
}

// The JSON of --json and of -o json are the same.
func TestJSONFlag(t *testing.T) {
	f := newFakeNode(t)
	c := newCLI(t, f.URL)
	for _, args := range [][]string{{"get", "b", "k"}, {"put", "b", "k", "v"}, {"delete", "b", "k"}, {"add", "b", "k", "1"}, {"get", "b", "k", "--previous"}} {
		a, b := c.run(append(args, "--json")...), c.run(append(args, "-o", "json")...)
		if a.code != 0 || a.out != b.out || !json.Valid([]byte(a.out)) {
			t.Errorf("%v: %+v and %+v", args, a, b)
		}
	}
}

func TestGetOfSiblingsAndOfNothing(t *testing.T) {
	f := newFakeNode(t)
	c := newCLI(t, f.URL)
	f.answer = func(w http.ResponseWriter) {
		w.WriteHeader(http.StatusMultipleChoices)
		_, _ = io.WriteString(w, `{"context":"seen","siblings":[
			{"dot":"a:1","content_type":"text/plain","modified":"2026-03-01T12:00:00.5Z","encoding":"utf-8","value":"pears\u001b[2J"},
			{"dot":"b:2","content_type":"text/plain","modified":"2026-03-01T12:00:01Z","encoding":"base64","value":"/w=="}]}`)
	}
	got := c.run("get", "carts", "alice")
	golden(t, "siblings.txt", got.out)
	if got.code != 0 || !strings.Contains(got.err, "--context seen") {
		t.Errorf("siblings: %+v", got)
	}
	got = c.run("get", "carts", "alice", "--json")
	golden(t, "siblings.json", got.out)
	if got.code != 0 || got.err != "" {
		t.Errorf("siblings: %+v", got)
	}
	f.answer = func(w http.ResponseWriter) { problem(w, http.StatusNotFound, "key-not-found", "") }
	if got = c.run("get", "carts", "alice"); got.code != 1 || got.out != "" || !strings.Contains(got.err, "carts/alice: not found") {
		t.Errorf("absent: %+v", got)
	}
	got = c.run("get", "carts", "alice", "--json")
	golden(t, "absent.json", got.out)
	if got.code != 1 {
		t.Errorf("absent: %+v", got)
	}
}

func TestExitCodes(t *testing.T) {
	f := newFakeNode(t)
	f.cluster(func([]map[string]any) {})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := "http://" + l.Addr().String()
	_ = l.Close()
	node := func(status int, members string) func(w http.ResponseWriter) {
		return func(w http.ResponseWriter) { problem(w, status, "x", members) }
	}
	for _, tc := range []struct {
		args   string
		answer func(w http.ResponseWriter)
		code   int
		says   string // on standard error
	}{
		{"version", nil, 0, ""},
		{"", nil, 0, ""},
		{"put b k v", nil, 0, ""},
		{"put b k v", node(500, ""), 1, "Title of x: The detail."},
		{"put b k v", node(507, ""), 1, "(nothing was written)"},
		{"put b k v", node(504, `,"maybe_applied":true`), 1, "(the write may have been applied)"},
		{"put b k v", node(409, ""), 5, "The detail."},
		{"get b k --context c", node(412, ""), 5, "The detail."},
		{"put b k v", node(422, ""), 2, "The detail."},
		{"add b k 1", node(422, ""), 2, "(nothing was added)"},
		{"add b k 1", node(504, `,"maybe_applied":true`), 1, "(the write may have been applied)"},
		{"add b k -1", nil, 0, ""},
		{"add b k", nil, 2, "DELTA is missing"},
		{"add b -1", nil, 2, "DELTA is missing"},
		{"add b k 1 2", nil, 2, `unexpected argument "2": starling add takes BUCKET KEY DELTA`},
		{"add b k 1.5", nil, 2, "DELTA 1.5: it must be a whole number"},
		{"add b k 9223372036854775808", nil, 2, "64 bits"},
		{"add b k 1 --ttl 0s", nil, 2, "must be positive"},
		{"add b k -x", nil, 2, "-x"},
		{"get b k --previous", node(400, ""), 2, "The detail."},
		{"put b k v", node(400, ""), 2, "The detail."},
		{"--endpoint " + closed + " put b k v", nil, 3, "refused"},
		{"--endpoint " + closed + " status", nil, 3, "refused"},
		{"--endpoint " + closed + " ring", nil, 3, "refused"},
		{"--endpoint " + closed + " bench --records 1 --connections 1", nil, 3, "refused"},
		{"--endpoint " + closed + "," + f.URL + " status", nil, 0, ""},
		{"--endpoints " + closed + " --endpoints " + f.URL + " put b k v", nil, 0, ""},
		{"where b nothing-there", nil, 1, "404"},
		{"explain b nothing-there", nil, 1, "404"},
		{"explain b", nil, 2, "KEY is missing"},
		{"hints", nil, 0, ""},
		{"hints sl", nil, 2, "unknown command"},
		{"hints ls n1", nil, 2, `unexpected argument "n1"`},
		{"hints replay --to n1", nil, 2, "--to"},
		{"convergence", nil, 0, ""},
		{"convergence all", nil, 2, `unexpected argument "all"`},
		{"repair", nil, 0, ""},
		{"repair begin", nil, 2, "unknown command"},
		{"repair start n1", nil, 2, `unexpected argument "n1"`},
		{"repair start --partition -1", nil, 2, "0 or more is allowed"},
		{"repair start --partition x", nil, 2, "--partition"},
		{"repair start", nil, 1, "404"},
		{"repair status", nil, 1, "404"},
		{"cluster", nil, 0, ""},
		{"cluster grow", nil, 2, "unknown command"},
		{"cluster plan n3", nil, 2, `unexpected argument "n3"`},
		{"cluster plan", nil, 1, "404"},
		{"cluster leave n3 n4 --yes", nil, 2, `unexpected argument "n4": starling cluster leave takes NODE`},
		{"cluster leave n3", nil, 2, "--yes is missing"},
		{"cluster leave n3 --yes", nil, 1, "404"},
		{"cluster remove --yes", nil, 2, "NODE is missing"},
		{"cluster replace n3 --yes", nil, 2, "--by is missing"},
		{"cluster replace --by n4", nil, 2, "DEAD is missing"},
		{"cluster pace fast", nil, 2, "RATE fast: hold, default, or 64KiB to 64GiB a second is allowed"},
		{"cluster pace hold n1", nil, 2, `unexpected argument "n1"`},
		{"cluster pace hold --for 25h", nil, 2, "1s to 24h is allowed"},
		{"cluster pace 8MiB --for 999ms", nil, 2, "1s to 24h is allowed"},
		{"cluster pace --for 2h", nil, 2, "for a RATE or hold alone"},
		{"cluster pace default --for 2h", nil, 2, "for a RATE or hold alone"},
		{"cluster pace hold --node n9", nil, 2, "--node n9: there is no such member"},
		{"--endpoint " + closed + " cluster pace", nil, 3, "refused"},
		{"--endpoint " + closed + " cluster pace hold", nil, 3, "refused"},
		{"safe-to-stop n1 n2", nil, 2, `unexpected argument "n2"`},
		{"safe-to-stop n1", nil, 1, "404"},
		{"status --until-settled", nil, 2, "for --watch"},
		{"status --interval 2s", nil, 2, "for --watch"},
		{"status --watch --interval 1ms", nil, 2, "100ms or more is allowed"},
		{"--endpoint " + closed + " status --watch", nil, 3, "refused"},
		{"--endpoint " + closed + " cluster plan", nil, 3, "refused"},
		{"--endpoint " + closed + " cluster leave --yes", nil, 3, "refused"},
		{"--endpoint " + closed + " cluster remove n3 --yes", nil, 3, "refused"},
		{"--endpoint " + closed + " safe-to-stop", nil, 3, "refused"},
		{"--endpoint " + closed + " convergence", nil, 3, "refused"},
		{"--endpoint " + closed + " repair start --wait", nil, 3, "refused"},
		{"--endpoint " + closed + " repair status", nil, 3, "refused"},
		{"--endpoint " + closed + " explain b k", nil, 3, "refused"},
		{"--endpoint " + closed + " hints ls", nil, 3, "refused"},
		{"--endpoint " + closed + " hints replay", nil, 3, "refused"},
		{"bogus", nil, 2, `unknown command "bogus"`},
		{"statsu", nil, 2, "did you mean status?"},
		{"completion bogus", nil, 2, "unknown command"},
		{"status extra", nil, 2, `unexpected argument "extra"`},
		{"put b k", nil, 2, "VALUE|-|@FILE is missing"},
		{"put b k v w", nil, 2, `unexpected argument "w": starling put takes BUCKET KEY VALUE|-|@FILE`},
		{"put --nonsense", nil, 2, "--nonsense"},
		{"put b k v --ttl x", nil, 2, "--ttl"},
		{"put b k v --ttl 0s", nil, 2, "must be positive"},
		{"put b k v --consistency some", nil, 2, "one, two, three, quorum, all, any are allowed"},
		{"get b k --consistency any", nil, 2, "one, two, three, quorum, all are allowed"},
		{"put b k v --w 0", nil, 2, "--w 0: 1 up to"},
		{"put b/c k v", nil, 2, "A-Z a-z 0-9"},
		{"put b k @/does/not/exist", nil, 2, "no such file"},
		{"delete b k --context c --r 2", nil, 2, "without --context"},
		{"get b k -o yaml", nil, 2, "table and json are allowed"},
		{"get b k --timeout -1s", nil, 2, "must be positive"},
		{"--endpoint ftp://x get b k", nil, 2, "http or https"},
		{"bench --workload e", nil, 2, "a, b, c, d and f are known"},
		{"bench --connections 0", nil, 2, "--connections 0"},
		{"bench --duration 0s", nil, 2, "--duration"},
		{"bench compare", nil, 2, "--echo is missing"},
		{"bench compare --echo x --rounds 0", nil, 2, "--rounds 0"},
		{"bench-echo --bytes -1", nil, 2, "--bytes -1"},
	} {
		f.answer = tc.answer
		got := newCLI(t, f.URL).run(strings.Fields(tc.args)...)
		if got.code != tc.code || !strings.Contains(got.err, tc.says) || (got.code == 0) != (got.err == "") {
			t.Errorf("starling %s: exit code %d, want %d; %q, want %q in it", tc.args, got.code, tc.code, got.err, tc.says)
		}
		if got.code == exitUsage != strings.Contains(got.err, "--help' for usage") {
			t.Errorf("starling %s: %q", tc.args, got.err)
		}
	}
}

func TestExitCodeOfATimeout(t *testing.T) {
	if got := exitCode(fmt.Errorf("x: %w", context.DeadlineExceeded)); got != exitUnreachable {
		t.Errorf("a deadline: %d", got)
	}
	if got := exitCode(&client.Error{Err: fmt.Errorf("%w; last: %w", context.DeadlineExceeded, &client.Problem{Status: 503})}); got != exitFailed {
		t.Errorf("a deadline after an answer: %d", got)
	}
	if got := exitCode(errors.New("x")); got != exitFailed {
		t.Errorf("any error: %d", got)
	}
}

// Flags reach the request.
func TestRequests(t *testing.T) {
	f := newFakeNode(t)
	c := newCLI(t, f.URL)
	file := filepath.Join(t.TempDir(), "value")
	if err := os.WriteFile(file, []byte("from a file"), 0o600); err != nil {
		t.Fatal(err)
	}
	c.in = "from \x00 standard input"
	for _, tc := range []struct {
		args    []string
		request string
		query   url.Values
		header  map[string]string
		body    string
	}{
		{
			[]string{"put", "b", "a/../%k", "v", "--consistency", "all", "--w", "2", "--pw", "1", "--sloppy=false", "--ttl", "1h", "--timeout", "750ms",
				"--context", "c", "--content-type", "text/x", "--meta", "a=1", "--idempotency-key", "op"},
			"PUT /v1/buckets/b/keys/a%2F%2E%2E%2F%25k",
			url.Values{"consistency": {"all"}, "w": {"2"}, "pw": {"1"}, "sloppy": {"false"}, "ttl": {"1h0m0s"}, "timeout": {"750ms"}},
			map[string]string{"X-Starling-Context": "c", "Content-Type": "text/x", "X-Starling-Meta-A": "1", "Idempotency-Key": "op"}, "v",
		},
		{[]string{"put", "b", "k", "-"}, "PUT /v1/buckets/b/keys/k", url.Values{}, nil, c.in},
		{[]string{"put", "b", "k", "@" + file}, "PUT /v1/buckets/b/keys/k", url.Values{}, nil, "from a file"},
		{[]string{"put", "b", "k", ""}, "PUT /v1/buckets/b/keys/k", url.Values{}, nil, ""},
		{
			[]string{"get", "b", "k", "--r", "2", "--pr", "1", "--context", "c"}, "GET /v1/buckets/b/keys/k",
			url.Values{"r": {"2"}, "pr": {"1"}}, map[string]string{"X-Starling-Context": "c"}, "",
		},
		{[]string{"get", "b", "k", "--previous", "--r", "2"}, "GET /v1/buckets/b/keys/k", url.Values{"r": {"2"}, "previous": {"true"}}, nil, ""},
		{
			[]string{"add", "b", "a/k", "-7", "--consistency", "all", "--w", "2", "--ttl", "1h", "--timeout", "750ms", "--idempotency-key", "op"},
			"POST /v1/buckets/b/keys/a%2Fk/add", url.Values{"consistency": {"all"}, "w": {"2"}, "ttl": {"1h0m0s"}, "timeout": {"750ms"}},
			map[string]string{"Idempotency-Key": "op"}, `{"delta":-7}`,
		},
		{[]string{"add", "b", "--", "--k", "+7"}, "POST /v1/buckets/b/keys/--k/add", url.Values{"timeout": {"3s"}}, nil, `{"delta":7}`},
		{
			[]string{"delete", "b", "k", "--r", "2", "--w", "3", "--consistency", "any", "--idempotency-key", "op"}, "DELETE /v1/buckets/b/keys/k",
			url.Values{"r": {"2"}, "w": {"3"}, "consistency": {"any"}}, map[string]string{"Idempotency-Key": "op", "X-Starling-Context": ""}, "",
		},
	} {
		if got := c.run(tc.args...); got.code != 0 {
			t.Fatalf("%v: %+v", tc.args, got)
		}
		if got := f.last.Method + " " + f.last.URL.EscapedPath(); got != tc.request {
			t.Errorf("%v: %s, want %s", tc.args, got, tc.request)
		}
		if got := f.last.URL.Query(); !maps.EqualFunc(got, tc.query, slices.Equal[[]string]) {
			t.Errorf("%v: query %v, want %v", tc.args, got, tc.query)
		}
		for name, want := range tc.header {
			if got := f.last.Header.Get(name); got != want {
				t.Errorf("%v: %s is %q, want %q", tc.args, name, got, want)
			}
		}
		if string(f.body) != tc.body {
			t.Errorf("%v: body %q, want %q", tc.args, f.body, tc.body)
		}
	}
}

// A value is written to standard output byte for byte, and in JSON as base64
// where it is not UTF-8.
func TestGetOfBytes(t *testing.T) {
	f := newFakeNode(t)
	c := newCLI(t, f.URL)
	f.answer = func(w http.ResponseWriter) { _, _ = w.Write([]byte("\x1b[31m\xff\x00\n")) }
	if got := c.run("get", "b", "k"); got.out != "\x1b[31m\xff\x00\n" || got.code != 0 {
		t.Errorf("%+v", got)
	}
	if got := c.run("get", "b", "k", "--json"); !strings.Contains(got.out, `"encoding": "base64"`) || !strings.Contains(got.out, `"value": "G1szMW3/AAo="`) {
		t.Errorf("%+v", got)
	}
	f.answer = func(http.ResponseWriter) {}
	if got := c.run("get", "b", "k", "--json"); !strings.Contains(got.out, `"value": ""`) {
		t.Errorf("an empty value: %+v", got)
	}
}

func TestDefaultEndpoint(t *testing.T) {
	for env, want := range map[string]string{"": defaultEndpoint, " , ": defaultEndpoint, "a:1, b:2": "a:1|b:2"} {
		a := &app{env: func(string) string { return env }}
		if got := strings.Join(a.endpoints(), "|"); got != want {
			t.Errorf("%q: %s, want %s", env, got, want)
		}
	}
}

func TestVersion(t *testing.T) {
	c := newCLI(t)
	if got := c.run("version"); !regexp.MustCompile(`^starling \S+.* go1\S* \w+/\w+\n$`).MatchString(got.out) {
		t.Errorf("%+v", got)
	}
	var doc map[string]any
	if err := json.Unmarshal([]byte(c.run("version", "-o", "json").out), &doc); err != nil || doc["go"] == "" || doc["version"] == "" {
		t.Errorf("%v, %v", doc, err)
	}
}

// Every command explains itself with a text and examples.
func TestHelp(t *testing.T) {
	root := newRootCommand(&app{env: func(string) string { return "" }})
	for _, cmd := range root.Commands() {
		if cmd.Name() == "completion" || cmd.Name() == "help" {
			continue
		}
		examples := cmd.Example
		for _, sub := range cmd.Commands() {
			examples += sub.Example
		}
		if cmd.Short == "" || examples == "" {
			t.Errorf("%s has no text or no example", cmd.Name())
		}
		got := newCLI(t).run(cmd.Name(), "--help")
		if got.code != 0 || !strings.Contains(got.out, "Usage:") {
			t.Errorf("%s --help: %+v", cmd.Name(), got)
		}
	}
	if got := newCLI(t).run(); strings.Contains(got.out, "bench-echo") {
		t.Error("bench-echo is not hidden")
	}
}

func TestColour(t *testing.T) {
	table := newTable("NAME", "STATE")
	table.add(red, "n1", "dead")
	table.add(plain, "node-2", "well")
	for colour, want := range map[bool]string{
		false: "NAME    STATE\nn1      dead\nnode-2  well\n",
		true:  "\x1b[1mNAME    STATE\x1b[0m\n\x1b[31mn1      dead\x1b[0m\nnode-2  well\n",
	} {
		var out bytes.Buffer
		if err := table.print(&out, colour); err != nil || out.String() != want {
			t.Errorf("colour %v: %q, %v", colour, out.String(), err)
		}
	}
}

func TestCompletionOfCommands(t *testing.T) {
	f := newFakeNode(t)
	f.cluster(func([]map[string]any) {})
	for line, want := range map[string]string{
		"ad": "add\t", "get b k --prev": "--previous\t", "ex": "explain\t", "hi": "hints\t", "hints ": "ls\t", "hints r": "replay\t", "hints replay --ta": "--target\t", "hints replay --target ": "n1\nn2\nn3\n",
		"conv": "convergence\t", "rep": "repair\t", "repair ": "start\t", "repair s": "status\t", "repair start --b": "--bucket\t",
		"repair start --node ": "n1\nn2\nn3\n", "cluster ": "plan\t", "cluster leave ": "n1\nn2\nn3\n", "cluster replace n1 --by ": "n1\nn2\nn3\n",
		"cluster pace ": "hold\ndefault\n", "cluster pace hold --node ": "n1\nn2\nn3\n",
		"cluster plan --re": "--remove\t", "safe-to-stop ": "n1\nn2\nn3\n", "cluster remove n1 ": ":4\n",
	} {
		if got := newCLI(t, f.URL).run(append([]string{"__complete"}, strings.Split(line, " ")...)...); !strings.Contains(got.out, want) {
			t.Errorf("%q: %q, want %q in it", line, got.out, want)
		}
	}
}

func TestCompletionOfFlags(t *testing.T) {
	got := newCLI(t).run("__complete", "get", "--consistency", "")
	for _, level := range levels {
		if !strings.Contains(got.out, level+"\n") {
			t.Errorf("completion of --consistency: %q", got.out)
		}
	}
}
