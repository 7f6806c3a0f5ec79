package topology

import (
	"reflect"
	"testing"

	"starling/ring"
	"starling/store/bucket"
)

// TestBucketsStay: a map as a change would make it knows the buckets of before, and what moves does not depend on them.
func TestBucketsStay(t *testing.T) {
	plain := healthy(t, 3, 5)
	m := plain
	m.Buckets = bucket.Registry{bucket.Record{Name: "b"}.Drop(id(1))}
	for what, c := range map[string]Change{
		"nothing": {},
		"join":    {Join: []NewMember{{Name: "n9"}}},
		"leave":   {Leave: []ring.NodeID{id(1)}},
		"remove":  {Remove: []ring.NodeID{id(1)}},
		"replace": {Replace: []Replacement{{id(1), NewMember{Name: "n9"}}}},
		"label":   {Weights: map[ring.NodeID]uint32{id(1): 50}, Zones: map[ring.NodeID]string{id(2): "z"}},
	} {
		after := apply(t, m, c)
		if !reflect.DeepEqual(after.Buckets, m.Buckets) {
			t.Errorf("%s: the buckets are %+v", what, after.Buckets)
		}
		f := Facts{Bytes: size}
		if got, want := planOf(t, m, after, f), planOf(t, plain, apply(t, plain, c), f); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: the plan is %+v, without buckets %+v", what, got, want)
		}
	}
	got, err := Removal(m, id(1), but(2))
	want, _ := Removal(plain, id(1), but(2))
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("Removal: %+v, %v; without buckets %+v", got, err, want)
	}
}
