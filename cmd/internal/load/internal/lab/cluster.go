package lab

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// Cluster is a running local cluster, by way of its script.
type Cluster struct {
	script string
	// Endpoints are those of the nodes that had data when it was opened.
	Endpoints []string
}

// At is the cluster of a script that is still to be started.
func At(script string) *Cluster { return &Cluster{script: script} }

// Open asks the script for the endpoints and fails where there are fewer than
// least.
func Open(ctx context.Context, script string, least int) (*Cluster, error) {
	c := At(script)
	out, err := c.Call(ctx, nil, "endpoints")
	c.Endpoints = strings.Fields(out)
	if err == nil && len(c.Endpoints) < least {
		err = fmt.Errorf("%d nodes: at least %d are needed", len(c.Endpoints), least)
	}
	return c, err
}

// Call runs a verb of the script and gives what it printed; settings are added
// to the environment.
func (c *Cluster) Call(ctx context.Context, settings []string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, c.script, args...)
	cmd.Env = append(os.Environ(), settings...)
	var out, problems strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &problems
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", c.script, strings.Join(args, " "), err, strings.TrimSpace(problems.String()))
	}
	return out.String(), nil
}

// Node runs a verb about one node.
func (c *Cluster) Node(ctx context.Context, verb string, i int, settings ...string) error {
	_, err := c.Call(ctx, settings, verb, strconv.Itoa(i))
	return err
}

// Get reads a resource of at most 16 MiB that is answered with 200.
func Get(ctx context.Context, target string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer func() { _ = resp.Body.Close() }() // only read from
	b, err := io.ReadAll(io.LimitReader(resp.Body, 16<<20))
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: status %d", target, resp.StatusCode)
	}
	return string(b), err
}

// GetJSON is Get into a document.
func GetJSON(ctx context.Context, target string, doc any) error {
	text, err := Get(ctx, target)
	if err == nil {
		err = json.Unmarshal([]byte(text), doc)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", target, err)
	}
	return nil
}

// Metric adds up the samples of a metric, whatever their labels, in the text
// that /metrics answers.
func Metric(text, name string) (sum float64) {
	for line := range strings.Lines(text) {
		rest, ok := strings.CutPrefix(line, name)
		if !ok || rest == "" || rest[0] != '{' && rest[0] != ' ' {
			continue
		}
		value := rest[strings.LastIndexByte(strings.TrimSpace(rest), ' ')+1:]
		if f, err := strconv.ParseFloat(strings.TrimSpace(value), 64); err == nil {
			sum += f
		}
	}
	return sum
}

// Await waits for a time, or for the end of ctx.
func Await(ctx context.Context, until time.Time) error {
	t := time.NewTimer(time.Until(until))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Say tells whoever watches what is going on.
func Say(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }
