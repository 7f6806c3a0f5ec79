package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// starling runs the command line against a node, and wants this exit code.
func (c *cluster) starling(code, node int, args ...string) string {
	c.t.Helper()
	cmd := exec.Command(filepath.Join(root, "bin", "starling"), append(args, "--endpoint", c.url(node, ""))...)
	var out, problems bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &problems
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		c.t.Fatal(err)
	}
	if got := cmd.ProcessState.ExitCode(); got != code {
		c.t.Fatalf("starling %s: exit code %d, want %d\n%s%s", strings.Join(args, " "), got, code, out.Bytes(), problems.Bytes())
	}
	return out.String()
}

// explanation is the part of GET /v1/explain that is looked at.
type explanation struct {
	Agree    bool
	Replicas []struct {
		Node, Role, Hash, Error string
		Alive                   bool
		Hints                   int
		Siblings                []struct{ Dot string }
	}
}

func (c *cluster) explained(code, node int, key string) (e explanation) {
	c.t.Helper()
	out := c.starling(code, node, "explain", "b", key, "-o", "json")
	if err := json.Unmarshal([]byte(out), &e); err != nil {
		c.t.Fatalf("explain: %v in %s", err, out)
	}
	return e
}

// The command line tells of a key whose owner is down, of the hints that are
// kept for it, and of its return.
func TestExplainHintsAndStatusOnTheCommandLine(t *testing.T) {
	t.Parallel()
	c := up(t, 5, handoffOnly...)
	const key = "told"
	owners := c.owners(1, "b", key)
	down, live := owners[0], c.others(owners[:1])
	name := fmt.Sprint("n", down)
	c.doAbout(204, "PUT", live[0], key, "?consistency=all", "before")
	if e := c.explained(0, live[0], key); !e.Agree || len(e.Replicas) != c.n {
		t.Errorf("with all nodes up: %+v", e)
	}
	c.run("kill", fmt.Sprint(down))
	seen := c.doAbout(200, "GET", live[0], key, "", "")
	c.doAbout(204, "PUT", live[0], key, "", "hinted", "X-Starling-Context", seen.context())

	var e explanation
	holder := 0
	c.eventually("explain shows who holds the hint", func() bool {
		e = c.explained(0, live[0], key)
		for _, r := range e.Replicas {
			if r.Hints > 0 {
				_, err := fmt.Sscanf(r.Node, "n%d", &holder)
				return err == nil
			}
		}
		return false
	}, func() string { return fmt.Sprintf("%+v", e) })
	hashes := map[string]bool{}
	for _, r := range e.Replicas {
		switch {
		case r.Node == name:
			if r.Role != "owner" || r.Error == "" {
				t.Errorf("the node that is down: %+v", r)
			}
		case r.Role == "owner":
			hashes[r.Hash] = true
			if len(r.Siblings) != 1 || r.Error != "" {
				t.Errorf("an owner: %+v", r)
			}
		}
	}
	if e.Agree || len(hashes) != 1 || slices.Contains(owners, holder) {
		t.Errorf("n%d holds the hint; %+v", holder, e)
	}
	if table := c.starling(0, live[0], "explain", "b", key); !strings.Contains(table, name) || !strings.Contains(table, fmt.Sprint("n", holder)) {
		t.Errorf("explain leaves a node out:\n%s", table)
	}

	c.eventually("status says that the node is down, and who holds hints", func() bool {
		out := c.statusMembers(holder)
		return !out[name].Alive && out[fmt.Sprint("n", holder)].Hints > 0
	}, func() string { return c.starling(4, holder, "status") })
	if ls := c.starling(0, holder, "hints", "ls"); !strings.Contains(ls, name) {
		t.Errorf("hints ls at n%d does not name %s:\n%s", holder, name, ls)
	}
	c.starling(0, holder, "hints", "replay")
	if h := c.hintsAt(holder); h.Hints == 0 {
		t.Error("a replay to a node that is down has dropped its hints")
	}

	c.run("start", fmt.Sprint(down))
	c.starling(0, holder, "hints", "replay", "--target", name)
	c.wantAtOwners(key, "hinted", owners...)
	c.awaitNoHints()
	if e := c.explained(0, live[0], key); !e.Agree {
		t.Errorf("when all is over: %+v", e)
	}
	c.eventually("status says that all is well", func() bool {
		for _, m := range c.statusMembers(live[0]) {
			if !m.Alive || m.Hints > 0 {
				return false
			}
		}
		return true
	}, func() string { return c.starling(0, live[0], "status") })
}

type statusMember struct {
	Name  string
	Alive bool
	Hints int64
}

// statusMembers is what status tells, by name; its exit code depends on it.
func (c *cluster) statusMembers(node int) map[string]statusMember {
	c.t.Helper()
	out, err := exec.Command(filepath.Join(root, "bin", "starling"), "status", "-o", "json", "--endpoint", c.url(node, "")).Output()
	var doc struct{ Members []statusMember }
	if jerr := json.Unmarshal(out, &doc); jerr != nil {
		c.t.Fatalf("status: %v, %v in %s", err, jerr, out)
	}
	members := make(map[string]statusMember)
	for _, m := range doc.Members {
		members[m.Name] = m
	}
	return members
}
