package api

import (
	"context"
	"encoding/hex"
	"net/http"
	"time"

	"starling/gossip/state"
	"starling/ring"
)

// Host is what this node says of itself and of its ways to the others, for
// `starling doctor` and `starling diag`.
type Host interface {
	// Report is how this process was built and started.
	Report() HostReport
	// Reach tries the ways to every other member that is not removed, and
	// returns when all have answered or ctx ends.
	Reach(ctx context.Context) []Reachability
}

// HostReport is how a process was built and started.
type HostReport struct {
	// Version is the release, Revision the commit if the build knows it, Go the
	// version of the toolchain.
	Version, Revision, Go, OS, Arch string
	CPUs                            int
	Started                         time.Time
	// Settings are in the order of the documentation, secrets left out.
	Settings []HostSetting
}

// HostSetting is a setting in force and where it came from.
type HostSetting struct {
	Name   string `json:"name"`
	Value  string `json:"value"`
	Source string `json:"source"`
}

// Reachability is how this node reaches a member just now: by a packet of
// failure detection (UDP), and by a request of its own (RPC).
type Reachability struct {
	Node     ring.NodeID
	Alive    bool // as far as the failure detector knows
	UDP, RPC Way
}

// Way is one way to a member. Took is meant where Err is nil.
type Way struct {
	Took time.Duration
	Err  error
}

// hostDoc is the JSON of /v1/node.
type hostDoc struct {
	Node      string        `json:"node"`
	ID        string        `json:"id"`
	ClusterID string        `json:"cluster_id"`
	Version   string        `json:"version"`
	Revision  string        `json:"revision"`
	Go        string        `json:"go"`
	OS        string        `json:"os"`
	Arch      string        `json:"arch"`
	CPUs      int           `json:"cpus"`
	Started   string        `json:"started"`
	Now       string        `json:"now"` // this node's wall clock
	Settings  []HostSetting `json:"settings"`
}

// clusterID is empty before the node has joined.
func clusterID(settings state.Settings) string {
	if settings.IsZero() {
		return ""
	}
	return hex.EncodeToString(settings.Cluster[:])
}

func (s *Server) getHost(w http.ResponseWriter, _ *http.Request) *problem {
	if s.opts.Host == nil {
		return notOffered()
	}
	r := s.opts.Host.Report()
	doc := hostDoc{
		Node: s.opts.Name, ID: s.opts.Self.String(), ClusterID: clusterID(s.opts.Cluster.Map().Settings),
		Version: r.Version, Revision: r.Revision, Go: r.Go, OS: r.OS, Arch: r.Arch, CPUs: r.CPUs,
		Started: isoTime(r.Started.UnixMilli()), Now: isoTime(s.opts.Now().UnixMilli()), Settings: r.Settings,
	}
	w.Header()["Cache-Control"] = noStore
	writeJSON(w, http.StatusOK, doc)
	return nil
}

// reachDoc is the JSON of /v1/node/peers.
type reachDoc struct {
	Node  string      `json:"node"`
	Peers []peerReach `json:"peers"`
}

type peerReach struct {
	Name  string `json:"name"`
	ID    string `json:"id"`
	Alive bool   `json:"alive"`
	UDP   wayDoc `json:"udp"`
	RPC   wayDoc `json:"rpc"`
}

// wayDoc has the round trip where there was an answer, else the error.
type wayDoc struct {
	OK          bool    `json:"ok"`
	RoundTripMS float64 `json:"round_trip_ms"`
	Error       string  `json:"error"`
}

// reachTimeout bounds the look at the ways to the others.
const reachTimeout = 2 * time.Second

func (s *Server) getReach(w http.ResponseWriter, r *http.Request) *problem {
	if s.opts.Host == nil {
		return notOffered()
	}
	done, p := s.diagnose()
	if p != nil {
		return p
	}
	defer done()
	ctx, cancel := context.WithTimeout(r.Context(), reachTimeout)
	defer cancel()
	ways := s.opts.Host.Reach(ctx)
	m := s.opts.Cluster.Map()
	doc := reachDoc{Node: s.opts.Name, Peers: make([]peerReach, len(ways))}
	for i, way := range ways {
		doc.Peers[i] = peerReach{Name: nodeName(m, way.Node), ID: way.Node.String(), Alive: way.Alive, UDP: newWayDoc(way.UDP, m), RPC: newWayDoc(way.RPC, m)}
	}
	w.Header()["Cache-Control"] = noStore
	writeJSON(w, http.StatusOK, doc)
	return nil
}

func newWayDoc(way Way, m state.Map) wayDoc {
	if way.Err != nil {
		return wayDoc{Error: named(m, plainText(way.Err))}
	}
	return wayDoc{OK: true, RoundTripMS: milliseconds(way.Took)}
}
