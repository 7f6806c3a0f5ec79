package client

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Defaults of [Options].
const (
	DefaultTimeout        = 10 * time.Second
	DefaultAttemptTimeout = 3 * time.Second
	DefaultAttempts       = 5
	DefaultBackoff        = 50 * time.Millisecond
	DefaultRingRefresh    = 30 * time.Second
	// DefaultMaxAnswerBytes has room for a hundred siblings of 1 MiB in
	// base64, the most that a cluster with default limits answers.
	DefaultMaxAnswerBytes = 160 << 20
)

// Options configure a [Client]. Only Endpoints is required.
type Options struct {
	// Endpoints are the nodes to talk to: "http://host:port", or "host:port"
	// for plain HTTP. One is enough to find the others through the ring;
	// several survive the loss of one at start.
	Endpoints []string
	// HTTPClient sends the requests. Nil: one of the client's own, with a
	// transport that keeps connections alive and does not follow redirects.
	HTTPClient *http.Client
	// Timeout bounds a whole call, retries and pauses included, when the
	// caller's context has no deadline. Default 10 s.
	Timeout time.Duration
	// AttemptTimeout bounds one attempt, so that a node that hangs does not
	// use up the whole call. Default 3 s.
	AttemptTimeout time.Duration
	// Attempts is how often one request is sent at most, 1 or more. Default 5.
	Attempts int
	// Backoff is the longest pause before the second attempt. It doubles with
	// each further attempt up to 2 s; the pause taken is random between half
	// of it and all of it. Default 50 ms.
	Backoff time.Duration
	// MaxAnswerBytes bounds the body of an answer about a key. A larger one
	// is an error. Default 160 MiB.
	MaxAnswerBytes int64
	// Resolve merges siblings into the one value that Get answers and that
	// Update hands on. Nil: siblings are a [*SiblingsError].
	Resolve Resolver
	// DisableRing sends requests to Endpoints in turn. By default the client
	// fetches the ring and sends a request to a node that owns the key, which
	// saves a hop inside the cluster.
	DisableRing bool
	// RingRefresh is the age at which the ring is asked for again. Default
	// 30 s.
	RingRefresh time.Duration
	// Logger hears, at debug level, of nodes set aside and of failed ring
	// refreshes. Nil: nobody does.
	Logger *slog.Logger
}

// withDefaults fills in what was left out and refuses what cannot work.
func (o Options) withDefaults() (Options, error) {
	if len(o.Endpoints) == 0 {
		return o, errors.New("client: no endpoints given")
	}
	for _, d := range []struct {
		name  string
		value *time.Duration
		def   time.Duration
	}{
		{"Timeout", &o.Timeout, DefaultTimeout},
		{"AttemptTimeout", &o.AttemptTimeout, DefaultAttemptTimeout},
		{"Backoff", &o.Backoff, DefaultBackoff},
		{"RingRefresh", &o.RingRefresh, DefaultRingRefresh},
	} {
		if *d.value < 0 {
			return o, fmt.Errorf("client: Options.%s is %v; it must not be negative", d.name, *d.value)
		}
		if *d.value == 0 {
			*d.value = d.def
		}
	}
	if o.Attempts < 0 || o.MaxAnswerBytes < 0 {
		return o, errors.New("client: Options.Attempts and Options.MaxAnswerBytes must not be negative")
	}
	if o.Attempts == 0 {
		o.Attempts = DefaultAttempts
	}
	if o.MaxAnswerBytes == 0 {
		o.MaxAnswerBytes = DefaultMaxAnswerBytes
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o, nil
}

// ParseEndpoint reads an endpoint as [Options] has them: "http://host:port",
// "https://host" or "host:port". The result has a scheme and a host alone.
func ParseEndpoint(s string) (*url.URL, error) {
	text := strings.TrimSpace(s)
	if !strings.Contains(text, "://") {
		text = "http://" + text
	}
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return nil, fmt.Errorf("client: endpoint %q: %w", s, err)
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, fmt.Errorf("client: endpoint %q: the scheme must be http or https", s)
	case u.Hostname() == "":
		return nil, fmt.Errorf("client: endpoint %q names no host; wanted http://host:port", s)
	case u.Path != "" && u.Path != "/", u.RawQuery != "", u.Fragment != "", u.User != nil:
		return nil, fmt.Errorf("client: endpoint %q: only http://host:port is allowed", s)
	}
	return &url.URL{Scheme: u.Scheme, Host: u.Host}, nil
}

// newTransport is the transport of a client that was given none. Connections
// are kept and reused: a store is asked often, by few processes.
func newTransport() *http.Transport {
	return &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: 2 * time.Second, KeepAlive: 15 * time.Second}).DialContext,
		TLSHandshakeTimeout: 3 * time.Second,
		MaxIdleConns:        1024,
		MaxIdleConnsPerHost: 128,
		IdleConnTimeout:     90 * time.Second,
		// Values are opaque bytes; asking for gzip would only cost.
		DisableCompression: true,
	}
}

func newHTTPClient() *http.Client {
	return &http.Client{
		Transport:     newTransport(),
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}
