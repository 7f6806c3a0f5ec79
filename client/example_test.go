package client_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"

	"starling/client"
)

// node answers like a Starling node that holds one cart.
func node() *httptest.Server {
	mux := http.NewServeMux()
	mux.HandleFunc("PUT /v1/buckets/carts/keys/{key}", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Starling-Context", "token-2")
		w.Header().Set("X-Starling-Replicas", "acked=2 hinted=0 required=2")
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("GET /v1/buckets/carts/keys/alice", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Starling-Context", "token-1")
		_, _ = w.Write([]byte("apples"))
	})
	mux.HandleFunc("GET /v1/buckets/carts/keys/bob", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Starling-Context", "token-1")
		w.WriteHeader(http.StatusMultipleChoices)
		_, _ = w.Write([]byte(`{"context": "token-1", "siblings": [
			{"dot": "a:1", "content_type": "text/plain", "modified": "2026-03-01T12:00:00Z", "encoding": "utf-8", "value": "apples,pears"},
			{"dot": "b:2", "content_type": "text/plain", "modified": "2026-03-01T12:00:01Z", "encoding": "utf-8", "value": "apples,milk"}]}`))
	})
	mux.HandleFunc("GET /v1/buckets/carts/keys/carol", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Starling-Context", "token-1")
		w.WriteHeader(http.StatusNotFound)
	})
	return httptest.NewServer(mux)
}

// counters answers like a Starling node with a bucket of counters.
func counters() *httptest.Server {
	return httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`{"bucket": "visits", "key": "home", "value": 42}`))
	}))
}

// Increments from all clients count, each once, however often it is sent.
func ExampleClient_Add() {
	srv := counters()
	defer srv.Close()
	c, err := client.New(client.Options{Endpoints: []string{srv.URL}})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	n, err := c.Add(context.Background(), "visits", "home", 1, nil)
	if client.MaybeApplied(err) {
		log.Fatal("nobody knows whether it counts: ", err)
	}
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(n.Value)
	// Output: 42
}

func Example() {
	srv := node()
	defer srv.Close()
	c, err := client.New(client.Options{Endpoints: []string{srv.URL}})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	ctx := context.Background()
	v, err := c.Get(ctx, "carts", "alice", nil)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("read %s\n", v.Data)

	// The context of the read says what this write supersedes.
	w, err := c.Put(ctx, "carts", "alice", []byte("apples,pears"), &client.PutOptions{Context: v.Context})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("written:", w.Replicas)

	_, err = c.Get(ctx, "carts", "carol", &client.GetOptions{Consistency: client.Consistency{Level: client.One}})
	fmt.Println("carol has a cart:", !errors.Is(err, client.ErrNotFound))
	// Output:
	// read apples
	// written: acked=2 hinted=0 required=2
	// carol has a cart: false
}

// union is a resolver that loses nothing: the merged cart has what any of the
// carts has.
func union(siblings []client.Sibling) (client.Sibling, error) {
	var items []string
	for _, s := range siblings {
		items = append(items, strings.Split(string(s.Data), ",")...)
	}
	slices.Sort(items)
	merged := siblings[0]
	merged.Data = []byte(strings.Join(slices.Compact(items), ","))
	return merged, nil
}

func ExampleClient_Update() {
	srv := node()
	defer srv.Close()
	c, err := client.New(client.Options{Endpoints: []string{srv.URL}, Resolve: union})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	_, err = c.Update(context.Background(), "carts", "bob", func(current *client.Value) ([]byte, error) {
		fmt.Printf("%d siblings merge to %s\n", len(current.Siblings), current.Data)
		return append(current.Data, ",bread"...), nil
	})
	fmt.Println(err)
	// Output:
	// 2 siblings merge to apples,milk,pears
	// <nil>
}

func ExampleSiblings() {
	srv := node()
	defer srv.Close()
	c, err := client.New(client.Options{Endpoints: []string{srv.URL}})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	_, err = c.Get(context.Background(), "carts", "bob", nil)
	if v, ok := client.Siblings(err); ok {
		for _, s := range v.Siblings {
			fmt.Printf("%s %s\n", s.Dot, s.Data)
		}
	}
	// Output:
	// a:1 apples,pears
	// b:2 apples,milk
}
