package main

import (
	"context"
	"encoding/json"
	"strings"
	"sync"
	"time"

	"starling/client"
)

// hostDoc is the answer of GET /v1/node.
type hostDoc struct {
	Node      string        `json:"node"`
	ID        string        `json:"id"`
	ClusterID string        `json:"cluster_id"`
	Version   string        `json:"version"`
	Revision  string        `json:"revision"`
	Go        string        `json:"go"`
	CPUs      int           `json:"cpus"`
	Started   time.Time     `json:"started"`
	Now       time.Time     `json:"now"`
	Settings  []hostSetting `json:"settings"`
}

type hostSetting struct {
	Name   string `json:"name"`
	Value  string `json:"value"`
	Source string `json:"source"`
}

// setting is the value of a setting; empty if the node does not know it.
func (h *hostDoc) setting(name string) string {
	for _, s := range h.Settings {
		if s.Name == name {
			return s.Value
		}
	}
	return ""
}

// reachDoc is the answer of GET /v1/node/peers.
type reachDoc struct {
	Node  string      `json:"node"`
	Peers []peerReach `json:"peers"`
}

type peerReach struct {
	Name  string `json:"name"`
	Alive bool   `json:"alive"`
	UDP   wayDoc `json:"udp"`
	RPC   wayDoc `json:"rpc"`
}

type wayDoc struct {
	OK    bool   `json:"ok"`
	Error string `json:"error"`
}

// eachMember calls do for each of some members, several at once.
func eachMember(members []client.Member, do func(i int, m client.Member)) {
	free := make(chan struct{}, askAtOnce)
	var under sync.WaitGroup
	for i, m := range members {
		free <- struct{}{}
		under.Go(func() {
			defer func() { <-free }()
			do(i, m)
		})
	}
	under.Wait()
}

// remaining are the members that have not left for good, by name.
func remaining(members []client.Member) (list []client.Member) {
	for _, m := range byName(members) {
		if m.State != stateRemoved {
			list = append(list, m)
		}
	}
	return list
}

// fetchJSON reads a document of one node.
func fetchJSON(ctx context.Context, m client.Member, path string, doc any) error {
	return askOne(ctx, "GET", m.HTTP, path, doc)
}

// samples are metrics by name; of those with labels, the sum.
type samples map[string]float64

// parseSamples reads the text of /metrics.
func parseSamples(text []byte) samples {
	s := samples{}
	for line := range strings.Lines(string(text)) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), " ")
		if !ok || name == "#" {
			continue
		}
		name, _, _ = strings.Cut(name, "{")
		if i := strings.LastIndexByte(value, ' '); i >= 0 { // label values may have spaces
			value = value[i+1:]
		}
		var v float64
		if err := json.Unmarshal([]byte(value), &v); err == nil {
			s[name] += v
		}
	}
	return s
}
