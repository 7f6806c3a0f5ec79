package main

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"starling/client"
)

// Levels of findings.
const (
	levelOK      = "ok"
	levelNote    = "note"
	levelWarning = "warning"
	levelProblem = "problem"
)

// finding is one thing that the doctor has to say.
type finding struct {
	Check  string `json:"check"`
	Level  string `json:"level"`
	Node   string `json:"node"` // empty: the cluster as a whole
	Detail string `json:"detail"`
	Advice string `json:"advice"` // empty where there is nothing to be done
}

// doctorDoc is the JSON of doctor.
type doctorDoc struct {
	Healthy  bool      `json:"healthy"` // there are no problems
	Asked    string    `json:"asked"`   // the node that named the members
	Nodes    []string  `json:"nodes"`
	Findings []finding `json:"findings"`
}

// patient is what one member answered.
type patient struct {
	client.Member
	host    *hostDoc
	hostErr error
	// offset is how far the node's clock is ahead of this machine's, within
	// spread either way.
	offset, spread time.Duration
	notReady       error
	reach          *reachDoc
	pace           *paceDoc // nil where the node does not say
	metrics        samples
}

func newDoctorCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "doctor",
		Short: "Look for what will cause trouble: clocks, settings, versions, network, disks",
		Long: `Ask every member about itself and about its ways to the others, and say what is
wrong or will be. The checks:

  answers      every member answers, and is ready
  cluster      all are of one cluster
  clocks       the clocks agree; lww, TTLs and the order of siblings go by them
  network      every node reaches every other, by packets (UDP) and by requests
  versions     all run the same release
  settings     settings that should be the same everywhere are, and none is for
               tests
  durability   what is acknowledged is on disk, and repair is not switched off
  descriptors  there are file descriptors left
  disk         there is space left
  pace         where transfers are slowed down or held for a while, and until when

A problem has to be looked at now, a warning before it becomes one; a note is to
be known. The exit code is 4 where there is a problem. What goes on in the
cluster, and how equal the replicas are, status and convergence say.`,
		Example: `  starling doctor
  starling doctor -o json | jq -r '.findings[] | select(.level == "problem") | .detail'`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			doc, err := a.examine(cmd.Context())
			if err != nil {
				return err
			}
			if err := a.printDoctor(doc); err != nil {
				return err
			}
			if !doc.Healthy {
				return errUnhealthy
			}
			return nil
		},
	}
}

// examine asks all members and judges what they said.
func (a *app) examine(ctx context.Context) (*doctorDoc, error) {
	var cluster client.Cluster
	if err := a.ask(ctx, "/v1/cluster", &cluster); err != nil {
		return nil, err
	}
	ctx, cancel := a.within(ctx)
	defer cancel()
	members := remaining(cluster.Members)
	patients := make([]patient, len(members))
	eachMember(members, func(i int, m client.Member) { patients[i] = see(ctx, m) })
	return judge(cluster.Node, patients), nil
}

// see asks one member all that the checks need.
func see(ctx context.Context, m client.Member) patient {
	p := patient{Member: m}
	before := time.Now()
	var host hostDoc
	if p.hostErr = fetchJSON(ctx, m, "/v1/node", &host); p.hostErr != nil {
		return p
	}
	p.host = &host
	p.spread = time.Since(before) / 2
	p.offset = host.Now.Sub(before.Add(p.spread))
	var ready struct{}
	var parts sync.WaitGroup
	parts.Go(func() { p.notReady = fetchJSON(ctx, m, "/readyz", &ready) })
	parts.Go(func() {
		var reach reachDoc
		if err := fetchJSON(ctx, m, "/v1/node/peers", &reach); err == nil {
			p.reach = &reach
		}
	})
	parts.Go(func() {
		var pace paceDoc
		if err := fetchJSON(ctx, m, pacePath, &pace); err == nil { // older releases have none
			p.pace = &pace
		}
	})
	parts.Go(func() {
		if text, err := fetch(ctx, http.MethodGet, m.HTTP, "/metrics"); err == nil {
			p.metrics = parseSamples(text)
		}
	})
	parts.Wait()
	return p
}

// judge goes through the checks.
func judge(asked string, patients []patient) *doctorDoc {
	doc := &doctorDoc{Asked: asked, Nodes: []string{}, Healthy: true}
	var seen []patient
	for _, p := range patients {
		doc.Nodes = append(doc.Nodes, p.Name)
		if p.host != nil {
			seen = append(seen, p)
		}
	}
	for _, check := range []struct {
		name, well string
		run        func() []finding
	}{
		{"answers", "every member answers and is ready", func() []finding { return checkAnswers(patients) }},
		{"cluster", "all are of one cluster", func() []finding { return checkCluster(seen) }},
		{"clocks", "the clocks agree", func() []finding { return checkClocks(seen) }},
		{"network", "every node reaches every other, by packets and by requests", func() []finding { return checkNetwork(seen) }},
		{"versions", "all run the same release", func() []finding { return checkVersions(seen) }},
		{"settings", "settings that should be the same are", func() []finding { return checkSettings(seen) }},
		{"durability", "what is acknowledged is on disk, and repair is on", func() []finding { return checkDurability(seen) }},
		{"descriptors", "there are file descriptors left", func() []finding { return checkDescriptors(seen) }},
		{"disk", "there is space left", func() []finding { return checkDisk(seen) }},
		{"pace", "transfers go at the pace of the settings, or at another for a while", func() []finding { return checkPace(seen) }},
	} {
		found := check.run()
		well := true
		for i := range found {
			found[i].Check = check.name
			well = well && found[i].Level == levelNote
			doc.Healthy = doc.Healthy && found[i].Level != levelProblem
		}
		if well {
			detail := check.well
			if len(seen) < len(patients) && check.name != "answers" {
				detail += ", as far as the nodes answered"
			}
			found = append([]finding{{Check: check.name, Level: levelOK, Detail: detail}}, found...)
		}
		doc.Findings = append(doc.Findings, found...)
	}
	return doc
}

func (a *app) printDoctor(doc *doctorDoc) error {
	if a.output == outputJSON {
		return a.printJSON(doc)
	}
	styles := map[string]style{levelOK: green, levelWarning: amber, levelProblem: red}
	t := newTable("CHECK", "LEVEL", "NODE", "FINDING")
	for _, f := range doc.Findings {
		t.add(styles[f.Level], f.Check, f.Level, dash(f.Node), f.Detail)
		if f.Advice != "" {
			t.add(plain, "", "", "", "  "+f.Advice)
		}
	}
	if err := a.printTable(t); err != nil {
		return err
	}
	counts := map[string]int{}
	for _, f := range doc.Findings {
		counts[f.Level]++
	}
	line := green
	if !doc.Healthy {
		line = red
	}
	return a.printLine(line, "%s, %s at %s", count(int64(counts[levelProblem]), "problem", "problems"),
		count(int64(counts[levelWarning]), "warning", "warnings"), count(int64(len(doc.Nodes)), "node", "nodes"))
}

func checkAnswers(patients []patient) (found []finding) {
	for _, p := range patients {
		switch {
		case p.hostErr != nil:
			found = append(found, finding{Level: levelProblem, Node: p.Name, Detail: message(p.hostErr),
				Advice: "See whether its process runs and what its log says. If it is gone for good: starling cluster replace, or remove."})
		case p.notReady != nil:
			found = append(found, finding{Level: levelProblem, Node: p.Name, Detail: message(p.notReady),
				Advice: "It takes part and is not to get clients yet. starling status --watch shows what moves."})
		}
	}
	return found
}

func checkCluster(seen []patient) (found []finding) {
	for _, p := range seen {
		if p.host.ID != p.ID {
			found = append(found, finding{Level: levelProblem, Node: p.Name, Detail: p.HTTP + " is answered by another node, " + p.host.Node,
				Advice: "Two members advertise one address: correct advertise_http of one of them."})
		} else if p.host.ClusterID != seen[0].host.ClusterID {
			found = append(found, finding{Level: levelProblem, Node: p.Name, Detail: "it is of cluster " + dash(p.host.ClusterID) + ", " + seen[0].Name + " is of " + seen[0].host.ClusterID,
				Advice: "An address is used by two clusters. Correct the settings join and advertise_… of one of them."})
		}
	}
	return found
}

// groups says who has which value, those of most nodes first.
func groups(seen []patient, value func(p *patient) string) (texts []string) {
	by := map[string][]string{}
	var values []string
	for i := range seen {
		v := value(&seen[i])
		if len(by[v]) == 0 {
			values = append(values, v)
		}
		by[v] = append(by[v], seen[i].Name)
	}
	slices.SortStableFunc(values, func(a, b string) int { return len(by[b]) - len(by[a]) })
	for _, v := range values {
		texts = append(texts, fmt.Sprintf("%s at %s", dash(v), strings.Join(by[v], ", ")))
	}
	return texts
}

func checkVersions(seen []patient) []finding {
	texts := groups(seen, func(p *patient) string {
		if p.host.Revision == "" {
			return p.host.Version
		}
		return p.host.Version + " (" + p.host.Revision[:min(12, len(p.host.Revision))] + ")"
	})
	if len(texts) < 2 {
		return nil
	}
	return []finding{{Level: levelWarning, Detail: strings.Join(texts, "; "), Advice: "Finish the upgrade: one node at a time, with starling safe-to-stop before each."}}
}
