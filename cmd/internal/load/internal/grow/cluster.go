package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"

	"starling/cmd/internal/load/internal/lab"
)

// clusterDoc is what is of use here of GET /v1/cluster.
type clusterDoc struct {
	MapHash string `json:"map_hash"`
	Members []struct {
		Name, State      string
		Alive            bool
		Settled, Pending int
	}
}

func (b *bench) askCluster(ctx context.Context, i int) (doc clusterDoc, err error) {
	return doc, lab.GetJSON(ctx, b.endpoint(i)+"/v1/cluster", &doc)
}

// post sends a document; an answer that is no success is an error.
func (b *bench) post(ctx context.Context, target, doc string) error {
	return b.send(ctx, http.MethodPost, target, doc)
}

func (b *bench) send(ctx context.Context, method, target, doc string) error {
	req, err := http.NewRequestWithContext(ctx, method, target, strings.NewReader(doc))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }() // only read from
	if resp.StatusCode/100 != 2 {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
		return fmt.Errorf("%s: status %d: %s", target, resp.StatusCode, text)
	}
	return nil
}
