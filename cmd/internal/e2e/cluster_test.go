package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// root is the top of the repository.
var root = filepath.Join("..", "..", "..")

// TestMain builds bin/starling, which cluster.sh runs.
func TestMain(m *testing.M) {
	build := exec.Command("go", "build", "-o", filepath.Join(root, "bin", "starling"), "starling/cmd/starling")
	build.Stdout, build.Stderr = os.Stderr, os.Stderr
	if err := build.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "building bin/starling:", err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// cluster is a local cluster with its own ports and directory.
type cluster struct {
	t    *testing.T
	n    int
	base int
	home string
	env  []string
	http *http.Client
}

// up starts n nodes; they end with the test. env has further STARLING_
// settings for all of them.
func up(t *testing.T, n int, env ...string) *cluster {
	t.Helper()
	c := &cluster{t: t, n: n, base: freeBase(t), http: &http.Client{
		Timeout:   30 * time.Second,
		Transport: &http.Transport{MaxIdleConnsPerHost: 64},
	}}
	home := t.TempDir()
	c.home = filepath.Join(home, ".starling")
	c.env = append(os.Environ(), append(env,
		"STARLING_HOME="+home, fmt.Sprintf("STARLING_PORT_BASE=%d", c.base))...)
	t.Cleanup(func() {
		if t.Failed() {
			logs, _ := filepath.Glob(filepath.Join(c.home, "n*", "log"))
			for _, f := range logs {
				text, _ := os.ReadFile(f)
				t.Logf("%s:\n%s", f, tail(text, 4000))
			}
		}
		c.http.CloseIdleConnections()
		c.run("down")
	})
	c.run("up", fmt.Sprint(n))
	return c
}

func tail(b []byte, n int) []byte { return b[max(0, len(b)-n):] }

// basesTried counts the port bases that were tried: tests that run at the same
// time never share one.
var basesTried atomic.Int64

// freeBase finds a port base whose ports for nine nodes are free now. It stays
// below the ports that systems give to outgoing connections (32768 and up on
// Linux): one of those could take a node's port while the node is down.
func freeBase(t *testing.T) int {
	t.Helper()
	const first, last, step = 10_000, 32_000, 100
	const bases = (last - first) / step
	for range bases {
		base := first + (os.Getpid()+int(basesTried.Add(1)))%bases*step
		if portsFree(base) {
			return base
		}
	}
	t.Fatal("no range of free ports")
	return 0
}

func portsFree(base int) bool {
	for i := 10; i <= 99; i++ { // those of nine nodes, and of what watches them
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", base+i))
		if err != nil {
			return false
		}
		_ = l.Close()
	}
	return true
}

// run calls one verb of cluster.sh and wants it to succeed.
func (c *cluster) run(args ...string) string {
	c.t.Helper()
	return c.runWith(nil, args...)
}

// runWith is run with further settings for the nodes that it starts.
func (c *cluster) runWith(settings []string, args ...string) string {
	c.t.Helper()
	out, err := c.script(settings, args...)
	if err != nil {
		c.t.Fatalf("cluster.sh %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// script calls one verb, which may fail.
func (c *cluster) script(settings []string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(root, "deploy", "local", "cluster.sh"), args...)
	cmd.Env = append(slices.Clip(c.env), settings...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// url is an address at node i (1 to n).
func (c *cluster) url(i int, path string) string {
	return fmt.Sprintf("http://127.0.0.1:%d%s", c.base+10*i, path)
}

// answer is a response with its body read.
type answer struct {
	*http.Response
	body []byte
}

func (a answer) context() string { return a.Header.Get("X-Starling-Context") }

// problem is the body of an error.
type problem struct {
	Type, Title, Detail string
	Status              int
	Required, Received  *int
	MaybeApplied        *bool `json:"maybe_applied"`
}

func (a answer) problem(t *testing.T) problem {
	t.Helper()
	var p problem
	if err := json.Unmarshal(a.body, &p); err != nil {
		t.Fatalf("status %d with a body that is no problem: %q", a.StatusCode, a.body)
	}
	return p
}

// try sends one request; header has pairs of name and value.
func (c *cluster) try(method string, i int, path, body string, header ...string) (answer, error) {
	req, err := http.NewRequest(method, c.url(i, path), strings.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	for k := 0; k < len(header); k += 2 {
		req.Header.Set(header[k], header[k+1])
	}
	return c.send(req)
}

func (c *cluster) send(req *http.Request) (answer, error) {
	resp, err := c.http.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return answer{resp, b}, err
}

// do sends one request and wants one of the statuses.
func (c *cluster) do(want int, method string, i int, path, body string, header ...string) answer {
	c.t.Helper()
	a, err := c.try(method, i, path, body, header...)
	if err != nil {
		c.t.Fatalf("%s %s at n%d: %v", method, path, i, err)
	}
	if a.StatusCode != want {
		c.t.Fatalf("%s %s at n%d: status %d, want %d: %s", method, path, i, a.StatusCode, want, bytes.TrimSpace(a.body))
	}
	return a
}

// owners are the numbers of the nodes that own a key, as node at sees it.
func (c *cluster) owners(at int, bucket, key string) []int {
	c.t.Helper()
	a := c.do(200, "GET", at, "/v1/ring/"+bucket+"/"+key, "")
	var r struct{ Owners, Pending []string }
	if err := json.Unmarshal(a.body, &r); err != nil {
		c.t.Fatal(err)
	}
	if len(r.Pending) > 0 {
		c.t.Fatalf("%s/%s has pending replicas %v", bucket, key, r.Pending)
	}
	var nodes []int
	for _, name := range r.Owners {
		var i int
		if _, err := fmt.Sscanf(name, "n%d", &i); err != nil {
			c.t.Fatalf("owner %q: %v", name, err)
		}
		nodes = append(nodes, i)
	}
	return nodes
}

// eventually waits until a condition holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for !holds() {
		if time.Now().After(deadline) {
			t.Fatalf("gave up waiting for: %s", what)
		}
		time.Sleep(50 * time.Millisecond) // the condition is another process's: it can only be asked
	}
}
