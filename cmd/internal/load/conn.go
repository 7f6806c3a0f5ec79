package load

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"
)

// Target is a server, or several that serve the same keys.
type Target struct {
	// Name is the target's name in results.
	Name string
	// Endpoints are "http://host:port" or "host:port", one or more.
	Endpoints []string
	// Bucket is the bucket of the records.
	Bucket string
	// Query goes with every request, for example "consistency=quorum".
	Query string
}

const headerContext = "X-Starling-Context"

// conn is one keep-alive connection. It is used by one goroutine at a time
// and reuses its two requests, so that what is measured is the server.
type conn struct {
	transport *http.Transport
	endpoints []url.URL
	at        int // index of the endpoint in use
	records   int
	// prefix begins the names of the records that a Fill makes; inserted
	// ones begin with fresh, which no other Load has, so that an insert
	// never meets a record of an earlier run.
	prefix, fresh string
	name          []byte
	ctx           context.Context // of the Fill or Run under way
	url           *url.URL
	get, put      *http.Request
	body          *bodyReader
	failures      int // in a row
}

// bodyReader is a request body that can be filled again once the transport
// has closed it.
type bodyReader struct {
	bytes.Reader
	closed atomic.Bool
}

func (b *bodyReader) Close() error {
	b.closed.Store(true)
	return nil
}

// reply is what the load generator looks at of an answer.
type reply struct {
	status  int
	bytes   int64
	context string
}

func newConn(o *Options, first int, id string) (*conn, error) {
	prefix := "/v1/buckets/" + o.Target.Bucket + "/keys/user"
	c := &conn{
		transport: &http.Transport{
			DialContext:           (&net.Dialer{Timeout: o.Timeout}).DialContext,
			MaxIdleConnsPerHost:   1,
			DisableCompression:    true,
			ResponseHeaderTimeout: o.Timeout,
		},
		records: o.Records, prefix: prefix, fresh: prefix + "-" + id + "-",
	}
	for _, s := range o.Target.Endpoints {
		text := s
		if !strings.Contains(text, "://") {
			text = "http://" + text
		}
		u, err := url.Parse(text)
		if err != nil || u.Hostname() == "" {
			return nil, fmt.Errorf("load: endpoint %q: wanted http://host:port", s)
		}
		c.endpoints = append(c.endpoints, url.URL{Scheme: u.Scheme, Host: u.Host, RawQuery: o.Target.Query})
	}
	c.at = first % len(c.endpoints)
	return c, nil
}

// begin readies the connection for requests under ctx.
func (c *conn) begin(ctx context.Context) {
	c.ctx = ctx
	c.renew()
}

// renew makes the reused parts anew, where the transport may still be reading
// the old ones.
func (c *conn) renew() {
	c.url, c.body = new(url.URL), new(bodyReader)
	c.body.closed.Store(true)
	request := func(method string) *http.Request {
		return (&http.Request{
			Method: method, URL: c.url, Header: http.Header{},
			Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		}).WithContext(c.ctx)
	}
	c.get, c.put = request(http.MethodGet), request(http.MethodPut)
	c.put.Header.Set("Content-Type", "application/octet-stream")
}

// use points the connection's requests at a record.
func (c *conn) use(record int) {
	prefix := c.prefix
	if record >= c.records {
		prefix = c.fresh
	}
	c.name = append(c.name[:0], prefix...)
	for div := 100_000_000_000; div > 0; div /= 10 {
		c.name = append(c.name, byte('0'+record/div%10))
	}
	*c.url = c.endpoints[c.at]
	c.url.Path = string(c.name)
}

func (c *conn) doGet(record int) (reply, error) {
	c.use(record)
	return c.do(c.get)
}

func (c *conn) doPut(record int, value []byte, token string) (reply, error) {
	if !c.body.closed.Load() {
		c.renew() // the last put was answered before it was read
	}
	c.use(record)
	if token == "" {
		delete(c.put.Header, headerContext)
	} else {
		c.put.Header[headerContext] = []string{token}
	}
	c.body.Reset(value)
	c.body.closed.Store(false)
	c.put.Body, c.put.ContentLength = c.body, int64(len(value))
	return c.do(c.put)
}

// do sends a request and reads the answer to its end, without keeping it.
func (c *conn) do(r *http.Request) (reply, error) {
	resp, err := c.transport.RoundTrip(r)
	if err != nil {
		c.fail()
		return reply{}, err
	}
	n, err := io.Copy(io.Discard, resp.Body)
	if cerr := resp.Body.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		c.fail()
		return reply{}, err
	}
	c.failures = 0
	return reply{status: resp.StatusCode, bytes: n, context: resp.Header.Get(headerContext)}, nil
}

// fail moves on to the next endpoint.
func (c *conn) fail() {
	c.failures++
	c.at = (c.at + 1) % len(c.endpoints)
	c.renew()
}

// pause waits a little after failures, so that a server that is gone is not
// hammered. It is no more than 100 ms.
func (c *conn) pause() {
	if c.failures == 0 {
		return
	}
	t := time.NewTimer(min(time.Millisecond<<min(c.failures, 7), 100*time.Millisecond))
	defer t.Stop()
	select {
	case <-t.C:
	case <-c.ctx.Done():
	}
}
