package resolve

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"starling/store/bucket"
	"starling/store/object"
	"starling/store/version"
)

// modeRun is one schedule of puts in one mode.
type modeRun struct {
	*cluster
	mode     bucket.Mode
	contexts []version.Context // that clients hold
	values   []string          // put
	stamps   []object.Sibling  // as stored
	blind    bool              // no put has a context, and nothing expires or is deleted
}

// randomValue is a value that fits a mode.
func randomValue(r *rand.Rand, m bucket.Mode) string {
	switch m {
	case bucket.Max, bucket.Min:
		return []string{"1", "1.0", "-3", "1e2", "100", "99.5", "-0", "12345678901234567890123", "1E-30"}[r.IntN(9)]
	case bucket.Union:
		return []string{`["a"]`, `["b","a"]`, `[1,1.0,2]`, `[{"x":1,"y":2}]`, `[{"y":2,"x":1.0}]`, `[]`, `[[1],[2]]`, `["\u0061"]`}[r.IntN(8)]
	case bucket.JSONMerge:
		return []string{`{"a":1}`, `{"a":2,"b":{"c":1}}`, `{"b":{"c":[1],"d":null}}`, `{"b":7}`, `{"a":"x"}`, `{}`, `{"b":{"c":{"e":1}}}`, `{"a":[1,2]}`}[r.IntN(8)]
	}
	return fmt.Sprint("v", r.IntN(1000))
}

func (r *modeRun) step() error {
	r.nowMS += r.rand.Int64N(2000)
	p := r.any()
	switch r.rand.IntN(5) {
	case 0, 1:
		return r.put(p)
	case 2:
		r.send(p)
	case 3:
		r.deliver()
	default:
		r.contexts = append(r.contexts, p.object.Context())
	}
	return nil
}

func (r *modeRun) put(p *replica) error {
	nowMS := r.nowMS + p.skewMS
	s := object.Sibling{Value: []byte(randomValue(r.rand, r.mode)), ModifiedMS: nowMS, Op: opOf(r.rand.IntN(20))}
	var c version.Context
	if !r.blind {
		if len(r.contexts) > 0 && r.rand.IntN(2) == 0 {
			c = r.contexts[r.rand.IntN(len(r.contexts))]
		}
		switch r.rand.IntN(8) {
		case 0:
			s.Value, s.Tombstone = nil, true
		case 1:
			s.ExpiresMS = nowMS + r.rand.Int64N(5000)
		}
	}
	wrote := s.Value
	before := string(p.object.Append(nil))
	c2, s, err := Put(r.mode, p.object, c, s, nowMS)
	if err != nil {
		return err
	}
	if string(p.object.Append(nil)) != before {
		return fmt.Errorf("a put changed what it was given")
	}
	s.Dot = p.mint()
	if err := p.update(c2, s); err != nil {
		return err
	}
	r.values, r.stamps = append(r.values, string(wrote)), append(r.stamps, s)
	r.contexts = append(r.contexts, Reply(p.object, c, s.Dot, wrote))
	return r.bounded(p, nowMS)
}

// bounded: puts alone never pile up siblings in a mode that resolves them.
func (r *modeRun) bounded(p *replica, nowMS int64) error {
	v := Read(r.mode, p.object, nowMS)
	if r.mode != bucket.Siblings && len(v.Live) > 1 || len(v.Previous) > MaxPrevious {
		return fmt.Errorf("a reader sees %q and %d previous values", shown(v), len(v.Previous))
	}
	return nil
}

var allModes = []bucket.Mode{bucket.Siblings, bucket.LWW, bucket.Max, bucket.Min, bucket.Union, bucket.JSONMerge}

func play(seed uint64, m bucket.Mode, blind bool, steps int) (*modeRun, error) {
	r := &modeRun{cluster: newCluster(seed), mode: m, blind: blind}
	r.replicas[0].skewMS = -3_600_000
	for range steps {
		if err := r.step(); err != nil {
			return r, err
		}
	}
	return r, nil
}

// What a reader sees in the end does not depend on the order, the grouping or the
// number of the merges, in any mode, whatever the puts were.
func TestReadsAgreeAfterAnyMerges(t *testing.T) {
	forSeeds(t, *runsFlag, func(seed uint64) error {
		for _, m := range allModes {
			r, err := play(seed, m, false, 40)
			if err != nil {
				return fmt.Errorf("%s: %w", m, err)
			}
			want := Read(m, r.all(), r.nowMS)
			for range 3 {
				if got := Read(m, r.all(), r.nowMS); !reflect.DeepEqual(got, want) {
					return fmt.Errorf("%s: %q or %q", m, shown(got), shown(want))
				}
			}
		}
		return nil
	})
}

// With blind puts alone the modes have simple models.
func TestModesFollowTheirModels(t *testing.T) {
	models := map[bucket.Mode]func(r *modeRun) string{
		bucket.LWW: func(r *modeRun) string {
			return string(slices.MaxFunc(r.stamps, func(a, b object.Sibling) int { return byAge(&a, &b) }).Value)
		},
		bucket.Max:       func(r *modeRun) string { return extreme(r.values, 1) },
		bucket.Min:       func(r *modeRun) string { return extreme(r.values, -1) },
		bucket.Union:     func(r *modeRun) string { return unionModel(r.values) },
		bucket.JSONMerge: func(r *modeRun) string { return mergeModel(r.values) },
	}
	forSeeds(t, *runsFlag, func(seed uint64) error {
		for m, model := range models {
			r, err := play(seed, m, true, 30)
			if err != nil {
				return fmt.Errorf("%s: %w", m, err)
			}
			if len(r.values) == 0 {
				continue
			}
			r.replicas[0].object = object.Merge(r.replicas[0].object, r.all())
			if got, want := shown(Read(m, r.all(), r.nowMS)), model(r); len(got) != 1 || !sameJSON(got[0], want) {
				return fmt.Errorf("%s of %q is %q, want %q", m, r.values, got, want)
			}
		}
		return nil
	})
}

func sameJSON(a, b string) bool {
	if a == b {
		return true
	}
	x, errX := parseJSON([]byte(a))
	y, errY := parseJSON([]byte(b))
	return errX == nil && errY == nil && compare(x, y) == 0
}

// extreme is the greatest number times sign, by exact fractions.
func extreme(values []string, sign int) string {
	return slices.MaxFunc(values, func(a, b string) int { return sign * rational(a).Cmp(rational(b)) })
}

func rational(text string) *big.Rat {
	x, ok := new(big.Rat).SetString(text)
	if !ok {
		panic(text)
	}
	return x
}

// unionModel and mergeModel go by the standard library's values.
func unionModel(values []string) string {
	set := make(map[string]any)
	for _, v := range values {
		var items []any
		must(json.Unmarshal([]byte(v), &items))
		for _, item := range items {
			set[string(marshal(item))] = item
		}
	}
	return sorted(slices.Collect(maps.Values(set)))
}

// sorted is an array of items, in the order in which sets are answered.
func sorted(items []any) string {
	n, err := parse(bucket.Union, marshal(items))
	must(err)
	return string(n.append(nil))
}

func mergeModel(values []string) string {
	merged := map[string]any{}
	for _, v := range values {
		var o map[string]any
		must(json.Unmarshal([]byte(v), &o))
		mergeMaps(merged, o)
	}
	return string(marshal(merged))
}

func mergeMaps(into, from map[string]any) {
	for name, y := range from {
		x, there := into[name]
		inner, isMap := x.(map[string]any)
		other, alsoMap := y.(map[string]any)
		switch {
		case isMap && alsoMap:
			mergeMaps(inner, other)
		case !there || rank(y) > rank(x) || rank(x) == rank(y) && string(marshal(y)) > string(marshal(x)):
			into[name] = y
		}
	}
}

// rank orders kinds; the numbers and arrays of these tests sort as their texts do.
func rank(v any) int {
	switch v.(type) {
	case nil:
		return 0
	case bool:
		return 1
	case float64:
		return 2
	case string:
		return 3
	case []any:
		return 4
	}
	return 5
}

func marshal(v any) []byte {
	b, err := json.Marshal(v)
	must(err)
	return b
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// What a set loses, somebody saw: an element goes only by a put or delete of a
// client that had been shown a value with it, or had written it.
func TestUnionLosesOnlyWhatWasSeen(t *testing.T) {
	lost, kept := 0, 0
	forSeeds(t, *runsFlag, func(seed uint64) error {
		r := &unionRun{cluster: newCluster(seed), seen: make(map[string]bool)}
		for range 40 {
			if err := r.step(); err != nil {
				return err
			}
		}
		final := strings.Join(shown(Read(bucket.Union, r.all(), r.nowMS)), "")
		for i := range r.puts {
			element := fmt.Sprintf(`"e%d."`, i)
			switch there := strings.Contains(final, element); {
			case there:
				kept++
			case !r.seen[element]:
				return fmt.Errorf("%s went unseen: %s", element, final)
			default:
				lost++
			}
		}
		return nil
	})
	if *runsFlag >= 60 && (lost < 50 || kept < 50) {
		t.Errorf("the schedules are lopsided: %d elements went, %d stayed", lost, kept)
	}
}

// unionRun is a schedule of puts of sets of one element each.
type unionRun struct {
	*cluster
	clients []unionClient
	seen    map[string]bool // elements in what the writer of some put had seen
	puts    int
}

// unionClient holds a context, and the text of what it was shown with it.
type unionClient struct {
	context version.Context
	shown   string
}

func (r *unionRun) step() error {
	p := r.any()
	switch r.rand.IntN(5) {
	case 0, 1:
		return r.put(p)
	case 2:
		r.send(p)
	case 3:
		r.deliver()
	default:
		r.clients = append(r.clients, unionClient{p.object.Context(), strings.Join(shown(Read(bucket.Union, p.object, r.nowMS)), "")})
	}
	return nil
}

func (r *unionRun) put(p *replica) error {
	var by unionClient
	if len(r.clients) > 0 && r.rand.IntN(3) > 0 {
		by = r.clients[r.rand.IntN(len(r.clients))]
	}
	for i := range r.puts {
		if element := fmt.Sprintf(`"e%d."`, i); strings.Contains(by.shown, element) {
			r.seen[element] = true
		}
	}
	wrote := fmt.Sprintf(`["e%d."]`, r.puts)
	r.puts++
	c, s, err := Put(bucket.Union, p.object, by.context, object.Sibling{Value: []byte(wrote)}, r.nowMS)
	if err != nil {
		return err
	}
	s.Dot = p.mint()
	if err := p.update(c, s); err != nil {
		return err
	}
	r.clients = append(r.clients, unionClient{Reply(p.object, by.context, s.Dot, []byte(wrote)), by.shown + wrote})
	return nil
}

// In mode lww a put is stamped later than all that its replica holds, and what a
// client had seen never comes back over its put, whatever the clocks say.
func TestNewestWinsOverWhatItSaw(t *testing.T) {
	forSeeds(t, *runsFlag, func(seed uint64) error {
		c := newCluster(seed)
		c.replicas[0].skewMS = -3_600_000
		for i := range 30 {
			c.nowMS += c.rand.Int64N(1000)
			p := c.any()
			seen := c.all()
			var context version.Context
			if c.rand.IntN(2) == 0 {
				context = seen.Context()
			}
			held := p.object
			c2, s, err := Put(bucket.LWW, held, context, object.Sibling{Value: fmt.Append(nil, i)}, c.nowMS+p.skewMS)
			if err != nil {
				return err
			}
			s.Dot = p.mint()
			if err := p.update(c2, s); err != nil {
				return err
			}
			for _, old := range held.Siblings {
				if old.ModifiedMS >= s.ModifiedMS {
					return fmt.Errorf("stamp %d after %d", s.ModifiedMS, old.ModifiedMS)
				}
			}
			after := Read(bucket.LWW, c.all(), c.nowMS)
			if len(after.Live) != 1 || !context.Empty() && string(after.Live[0].Value) != fmt.Sprint(i) {
				return fmt.Errorf("put %d after a read: %q", i, shown(after))
			}
			c.send(p)
			c.deliver()
		}
		return nil
	})
}

func wantErr(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("error %v, want %v", err, want)
	}
}
