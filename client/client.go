package client

import (
	"context"
	"net/http"
	"sync/atomic"
	"time"
)

// Client talks to one cluster. Make one with [New], share it between
// goroutines, and Close it when it is no longer needed.
type Client struct {
	opts Options
	http *http.Client
	// traced is set where httptrace tells reliably whether a request was
	// given a connection.
	traced     bool
	start      time.Time
	life       context.Context // ends at Close
	end        context.CancelFunc
	configured []*endpoint
	routes     atomic.Pointer[routes]
	turn       atomic.Uint64
	ring       refresher
}

// New checks the options and makes a client. It sends nothing: the first call
// starts fetching the ring in the background.
func New(o Options) (*Client, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	c := &Client{opts: o, http: o.HTTPClient, start: time.Now()}
	for _, s := range o.Endpoints {
		u, err := ParseEndpoint(s)
		if err != nil {
			return nil, err
		}
		c.configured = append(c.configured, &endpoint{url: *u})
	}
	if c.http == nil {
		c.http = newHTTPClient()
	}
	_, c.traced = c.http.Transport.(*http.Transport)
	c.traced = c.traced || c.http.Transport == nil
	c.routes.Store(&routes{all: c.configured})
	c.life, c.end = context.WithCancel(context.Background())
	return c, nil
}

// Close ends the background refresh and waits for it, and lets go of idle
// connections if the transport is the client's own. Calls under way go on;
// later ones fail with [ErrClosed]. Closing twice is allowed.
func (c *Client) Close() {
	c.ring.mu.Lock()
	c.ring.closed = true
	c.ring.mu.Unlock()
	c.end()
	c.ring.wg.Wait()
	if c.opts.HTTPClient == nil {
		c.http.CloseIdleConnections()
	}
}

// now is the time since the client was made, by a clock that never steps.
func (c *Client) now() time.Duration { return time.Since(c.start) }
