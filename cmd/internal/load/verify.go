package load

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
)

// Check is the outcome of [Clients.Verify].
type Check struct {
	// Keys had at least one acknowledged put; Copies of them were read.
	Keys, Copies int
	// Siblings counts copies with more than one value: puts whose outcome was
	// unknown may leave them.
	Siblings int
	// Findings says what is wrong, in no order. Empty: every owner has every
	// acknowledged write.
	Findings []Finding
}

// Finding is a copy that is not as it must be.
type Finding struct {
	Key, Owner, Text string
}

// String is the finding in one line.
func (f Finding) String() string { return fmt.Sprintf("%s: %s %s", f.Key, f.Owner, f.Text) }

// Verify asks each owner of each key for its copy: at consistency one an
// owner answers from its own. Call it after a Run, once no fault is left.
func (c *Clients) Verify(ctx context.Context) (Check, error) {
	v := verifier{all: c, ctx: ctx, transport: &http.Transport{MaxIdleConnsPerHost: len(c.clients)}}
	defer v.transport.CloseIdleConnections()
	if err := v.learnAddresses(); err != nil {
		return Check{}, err
	}
	var wg sync.WaitGroup
	errs := make([]error, len(c.clients))
	for i, cl := range c.clients {
		wg.Go(func() { errs[i] = v.client(cl) })
	}
	wg.Wait()
	return v.check, errors.Join(errs...)
}

// Hints adds up the hints that all nodes hold, each node asked for its own.
// While one does not answer that is an error.
func (c *Clients) Hints(ctx context.Context) (int64, error) {
	var sum int64
	for _, endpoint := range c.endpoints {
		doc, err := askCluster(ctx, http.DefaultTransport, endpoint)
		if err != nil {
			return 0, err
		}
		for _, m := range doc.Members {
			if m.Name == doc.Node {
				sum += m.Hints
			}
		}
	}
	return sum, nil
}

// clusterDoc is the part of GET /v1/cluster that is of use here.
type clusterDoc struct {
	Node    string
	Members []struct {
		Name, HTTP string
		Hints      int64
	}
}

func askCluster(ctx context.Context, transport http.RoundTripper, endpoint string) (doc clusterDoc, err error) {
	return doc, askJSON(ctx, transport, endpoint+"/v1/cluster", &doc)
}

func askJSON(ctx context.Context, transport http.RoundTripper, target string, doc any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return err
	}
	a, err := exchange(transport, req)
	if err == nil && a.status != http.StatusOK {
		err = a.asError()
	}
	if err == nil {
		err = json.Unmarshal(a.body, doc)
	}
	if err != nil {
		return fmt.Errorf("load: %s: %w", target, err)
	}
	return nil
}

// verifier is a Verify under way.
type verifier struct {
	all       *Clients
	ctx       context.Context
	transport *http.Transport
	live      int               // the endpoint that is asked for owners
	addresses map[string]string // by member name

	mu    sync.Mutex
	check Check
}

func (v *verifier) learnAddresses() error {
	var doc clusterDoc
	var err error
	for v.live = range v.all.endpoints {
		if doc, err = askCluster(v.ctx, v.transport, v.all.endpoints[v.live]); err == nil {
			break
		}
	}
	if err != nil {
		return err
	}
	v.addresses = make(map[string]string, len(doc.Members))
	for _, m := range doc.Members {
		v.addresses[m.Name] = "http://" + m.HTTP
	}
	return nil
}

// client checks the keys of one client.
func (v *verifier) client(c *client) error {
	for k := range c.keys {
		key := keyName(c.index, k)
		var ring struct{ Owners []string }
		if err := askJSON(v.ctx, v.transport, fmt.Sprintf("%s/v1/ring/%s/%s", v.all.endpoints[v.live], v.all.opts.Bucket, key), &ring); err != nil {
			return err
		}
		for _, owner := range ring.Owners {
			values, err := v.copyAt(owner, key)
			if err != nil {
				return err
			}
			v.judge(&c.keys[k], key, owner, values)
		}
		if c.keys[k].acked > 0 {
			v.mu.Lock()
			v.check.Keys++
			v.mu.Unlock()
		}
	}
	return nil
}

// copyAt reads the copy of one owner.
func (v *verifier) copyAt(owner, key string) ([]string, error) {
	req, err := http.NewRequestWithContext(v.ctx, http.MethodGet, v.all.keyURL(v.addresses[owner], key)+"?consistency=one", nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "*/*, application/json")
	a, err := exchange(v.transport, req)
	if err == nil && !good(a.status) && a.status != http.StatusNotFound {
		err = a.asError()
	}
	if err != nil {
		return nil, fmt.Errorf("load: %s at its owner %s: %w", key, owner, err)
	}
	return a.values()
}

func (v *verifier) judge(h *history, key, owner string, values []string) {
	numbers, err := numbersOf(key, values, v.all.opts.ValueBytes)
	if err == nil {
		err = h.check(numbers)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.check.Copies++
	if len(values) > 1 {
		v.check.Siblings++
	}
	if err != nil {
		v.check.Findings = append(v.check.Findings, Finding{Key: key, Owner: owner, Text: err.Error()})
	}
}
