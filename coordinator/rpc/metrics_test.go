package rpc

import (
	"context"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"starling/coordinator"
	"starling/ring"
	"starling/store/object"
)

func TestMetrics(t *testing.T) {
	reg := prometheus.NewRegistry()
	c := newCluster(t)
	o := c.options(nodeB)
	o.Metrics = reg
	tr := c.transport(o) // calls itself: both sides count in one registry
	tr.SetServices((&fakeNode{
		read: func(context.Context, coordinator.ReadRequest) (coordinator.ReadReply, error) {
			return coordinator.ReadReply{}, nil
		},
		forward: func(context.Context, coordinator.ForwardRequest) (coordinator.PutResult, error) { panic("boom") },
	}).services())
	c.serve(tr, listen(t, "127.0.0.1:0"))
	for range 3 {
		_, err := tr.Read(short(t), nodeB, coordinator.ReadRequest{Ref: object.Ref{Bucket: "b", Key: "k"}})
		wantErr(t, err, nil)
	}
	_, err := tr.Forward(short(t), nodeB, testForward())
	wantErr(t, err, coordinator.ErrUnknown)
	_, err = tr.Confirm(short(t), ring.NodeID{0xdd}, nil)
	wantErr(t, err, coordinator.ErrUnreachable)
	got := gather(t, reg)
	const bytes = "starling_rpc_bytes_total direction="
	for ctx := short(t); (got["starling_rpc_frames_total direction=out"] < 8 || got[bytes+"out"] < got[bytes+"in"]) && ctx.Err() == nil; {
		got = gather(t, reg) // a flush is counted after it was written
	}
	for name, want := range map[string]float64{
		"starling_rpc_requests_total method=read result=ok side=client":             3,
		"starling_rpc_requests_total method=read result=ok side=server":             3,
		"starling_rpc_requests_total method=forward result=error side=client":       1,
		"starling_rpc_requests_total method=forward result=panic side=server":       1,
		"starling_rpc_requests_total method=confirm result=unreachable side=client": 1,
		"starling_rpc_connections side=client":                                      1,
		"starling_rpc_connections side=server":                                      1,
		"starling_rpc_in_flight_requests side=client":                               0,
		"starling_rpc_frames_total direction=in":                                    8,
		"starling_rpc_frames_total direction=out":                                   8,
		"starling_rpc_dial_failures_total":                                          0,
		"starling_rpc_refused_total side=server":                                    0,
	} {
		if v, ok := got[name]; !ok || v != want {
			t.Errorf("%s = %v, %v; want %v", name, v, ok, want)
		}
	}
	if in, out := got[bytes+"in"], got[bytes+"out"]; in == 0 || in != out {
		t.Errorf("%v bytes in, %v out", in, out)
	}
	for _, method := range []string{"read", "forward"} { // a node that calls itself receives all that it sends
		in := got["starling_rpc_message_bytes_total direction=in method="+method]
		if out := got["starling_rpc_message_bytes_total direction=out method="+method]; in == 0 || in != out {
			t.Errorf("%s: %v bytes in, %v out", method, in, out)
		}
	}
	if _, err := New(o); err == nil {
		t.Error("a second transport in the same registry")
	}
}

// A method that was forgotten in a table would be counted under another's name,
// or not at all.
func TestEveryMethodIsCounted(t *testing.T) {
	reg := prometheus.NewRegistry()
	client, server, err := newRequestCounters(reg)
	wantErr(t, err, nil)
	for m := methodPing; m < methods; m++ {
		client.count(m, resultOK)
		server.count(m, resultOK)
	}
	got := gather(t, reg)
	for m := methodPing; m < methods; m++ {
		for _, side := range []string{"client", "server"} {
			name := "starling_rpc_requests_total method=" + m.String() + " result=ok side=" + side
			if m.String() == "" || got[name] != 1 {
				t.Errorf("%d: %s = %v, want 1", m, name, got[name])
			}
		}
	}
}

func gather(t *testing.T, reg *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			name := f.GetName()
			for _, l := range m.GetLabel() {
				name += " " + l.GetName() + "=" + l.GetValue()
			}
			values[name] = m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return values
}
