package main

import (
	"archive/tar"
	"cmp"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"starling/client"
)

const (
	// diagTimeout bounds the wait for one answer of one node.
	diagTimeout = 10 * time.Second
	// diagCPU is how long the CPU is profiled, and mostDiagCPU the longest.
	diagCPU, mostDiagCPU = 10 * time.Second, 30 * time.Second
)

// diagFiles is what is asked of every node, by the name in the archive.
var diagFiles = []struct{ name, path string }{
	{"node.json", "/v1/node"},
	{"peers.json", "/v1/node/peers"},
	{"ready.json", "/readyz"},
	{"cluster.json", "/v1/cluster"},
	{"ring.json", "/v1/ring"},
	{"hints.json", "/v1/hints"},
	{"repair.json", "/v1/repair"},
	{"buckets.json", "/v1/buckets"},
	{"metrics.txt", "/metrics"},
}

// diagShared is what one node answers for all.
var diagShared = []struct{ name, path string }{
	{"convergence.json", "/v1/convergence?stale=true"},
	{"plan.json", "/v1/cluster/plan"},
}

// diagProfiles is what --profiles adds.
var diagProfiles = []struct{ name, path string }{
	{"heap.pprof", "/debug/pprof/heap"},
	{"goroutines.txt", "/debug/pprof/goroutine?debug=2"},
	{"mutex.pprof", "/debug/pprof/mutex"},
}

// diagOptions are the flags of diag.
type diagOptions struct {
	path     string
	profiles bool
	cpu      time.Duration
}

func newDiagCommand(a *app) *cobra.Command {
	o := diagOptions{cpu: diagCPU}
	cmd := &cobra.Command{
		Use:   "diag [FILE]",
		Short: "Collect what helps to find out what is wrong, from all nodes, in one archive",
		Long: `Write FILE (starling-diag-TIME.tar.gz by default), a compressed tar archive with
a folder for each node: its build, settings and clock, how it reaches the others,
members, ring, hints, repair, buckets' names and properties, and metrics; and
beside them convergence, what moves, and the findings of starling doctor. With
--profiles also memory, goroutines and CPU of every process.

No key and no value is in it, and no secret. Names and addresses of nodes, names
of buckets and paths are.

Nodes that do not answer are passed over: errors.txt says which, and why. The
exit code is 0 when the archive is written, also with gaps.`,
		Example: `  starling diag
  starling diag --profiles --cpu 20s before.tar.gz`,
		Args: upToOne("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if o.cpu < time.Second || o.cpu > mostDiagCPU {
				return usagef("--cpu %v: 1s to %v is allowed", o.cpu, mostDiagCPU)
			}
			o.path = "starling-diag-" + time.Now().UTC().Format("20060102T150405Z") + ".tar.gz"
			if len(args) > 0 {
				o.path = args[0]
			}
			return a.collect(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.BoolVar(&o.profiles, "profiles", false, "add profiles of memory, goroutines and CPU")
	f.DurationVar(&o.cpu, "cpu", o.cpu, "how long the CPU is profiled, with --profiles")
	return cmd
}

// diagDoc is the JSON of diag.
type diagDoc struct {
	File   string   `json:"file"`
	Bytes  int64    `json:"bytes"`
	Nodes  []string `json:"nodes"`
	Files  int      `json:"files"`
	Failed []string `json:"failed"`
}

// collect writes the archive under another name first: a file of the name that
// was given is whole.
func (a *app) collect(ctx context.Context, o diagOptions) (err error) {
	var cluster client.Cluster
	if err := a.ask(ctx, "/v1/cluster", &cluster); err != nil {
		return err
	}
	part, err := os.CreateTemp(filepath.Dir(o.path), filepath.Base(o.path)+".*")
	if err != nil {
		return usageError{err}
	}
	defer func() { _ = os.Remove(part.Name()) }() // it has another name by then, unless this failed
	d := newDiag(part)
	a.fill(ctx, d, &cluster, o)
	if err := errors.Join(d.close(), part.Close()); err != nil {
		return err
	}
	if err := os.Rename(part.Name(), o.path); err != nil {
		return err
	}
	d.doc.File = o.path
	if info, err := os.Stat(o.path); err == nil {
		d.doc.Bytes = info.Size()
	}
	if a.output == outputJSON {
		return a.printJSON(d.doc)
	}
	for _, f := range d.doc.Failed {
		if err := a.printLine(amber, "missing: %s", f); err != nil {
			return err
		}
	}
	return a.printLine(plain, "%s: %d files from %s, %d bytes", o.path, d.doc.Files, count(int64(len(d.doc.Nodes)), "node", "nodes"), d.doc.Bytes)
}

// fill asks for everything.
func (a *app) fill(ctx context.Context, d *diag, cluster *client.Cluster, o diagOptions) {
	for _, f := range diagShared {
		var raw json.RawMessage
		err := a.ask(ctx, f.path, &raw)
		d.add("", f.name, raw, err)
	}
	if doctor, err := a.examine(ctx); err == nil {
		text, err := json.MarshalIndent(doctor, "", "  ")
		d.add("", "doctor.json", text, err)
	} else {
		d.add("", "doctor.json", nil, err)
	}
	version, err := json.MarshalIndent(readVersion(), "", "  ")
	d.add("", "cli.json", version, err)
	members := remaining(cluster.Members)
	folders := d.begin(members)
	eachMember(members, func(i int, m client.Member) {
		files := diagFiles
		if o.profiles {
			files = append(files[:len(files):len(files)], diagProfiles...)
		}
		for _, f := range files {
			body, err := fetchWithin(ctx, diagTimeout, http.MethodGet, m.HTTP, f.path)
			d.add(folders[i], f.name, body, err)
			if errors.Is(err, client.ErrUnreachable) {
				return // the rest would only wait
			}
		}
		if o.profiles {
			path := fmt.Sprintf("/debug/pprof/profile?seconds=%d", int(o.cpu.Seconds()))
			body, err := fetchWithin(ctx, diagTimeout+o.cpu, http.MethodGet, m.HTTP, path)
			d.add(folders[i], "cpu.pprof", body, err)
		}
	})
}

// diag is an archive that is being written, by several at once.
type diag struct {
	gz  *gzip.Writer
	tar *tar.Writer
	now time.Time

	mu  sync.Mutex
	doc diagDoc
	err error // of writing; nothing is written after it
}

func newDiag(w io.Writer) *diag {
	gz := gzip.NewWriter(w)
	return &diag{gz: gz, tar: tar.NewWriter(gz), now: time.Now(), doc: diagDoc{Nodes: []string{}, Failed: []string{}}}
}

// begin gives each node a folder of its own.
func (d *diag) begin(members []client.Member) (folders []string) {
	taken := map[string]bool{}
	for _, m := range members {
		d.doc.Nodes = append(d.doc.Nodes, m.Name)
		folder := folderOf(m.Name)
		if taken[folder] { // names are labels: two nodes may have one
			folder = folderOf(m.Name + "-" + m.ID)
		}
		taken[folder] = true
		folders = append(folders, folder)
	}
	return folders
}

// add puts a file into a folder, which ends in a slash or is empty; where it
// could not be had it is noted instead.
func (d *diag) add(folder, name string, body []byte, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	full := folder + name
	if err != nil {
		d.doc.Failed = append(d.doc.Failed, full+": "+message(err))
		return
	}
	d.write(full, body)
}

// folderOf makes a folder's name of a node's, which is any text.
func folderOf(node string) string {
	safe := strings.Map(func(r rune) rune {
		if r == '-' || r == '_' || r == '.' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' {
			return r
		}
		return '_'
	}, node)
	return "nodes/" + cmp.Or(strings.TrimLeft(safe, "."), "_") + "/"
}

// write adds a file. The lock is held.
func (d *diag) write(name string, body []byte) {
	if d.err != nil {
		return
	}
	d.err = d.tar.WriteHeader(&tar.Header{Name: "starling-diag/" + name, Mode: 0o644, Size: int64(len(body)), ModTime: d.now})
	if d.err == nil {
		_, d.err = d.tar.Write(body)
	}
	d.doc.Files++
}

// close ends the archive with what is missing.
func (d *diag) close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.write("errors.txt", []byte(strings.Join(append(d.doc.Failed, ""), "\n")))
	return errors.Join(d.err, d.tar.Close(), d.gz.Close())
}
