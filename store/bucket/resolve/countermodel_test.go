package resolve

import (
	"fmt"
	"maps"
	"testing"

	"starling/store/object"
)

// heard is an object next to the operations that it ought to count, which are
// those that its holder has heard of.
type heard struct {
	object object.Object
	ops    map[int]bool
}

func (h heard) plus(o heard) heard {
	ops := maps.Clone(h.ops)
	if ops == nil {
		ops = make(map[int]bool)
	}
	maps.Copy(ops, o.ops)
	return heard{object.Merge(h.object, o.object), ops}
}

// countRun is one schedule of increments.
type countRun struct {
	*cluster
	held     map[*replica]heard
	messages []heard
	deltas   []int64
	firstMS  []int64 // when each operation was run first; 0: it has no ID
	copies   []copies
	reading  copies
	stats    countStats
}

// copies are those of all owners, read one after the other with other things
// happening in between, and before them, at times, what somebody keeps who is
// none.
type copies struct {
	readMS       int64
	read, others []heard
}

// countStats tells whether the schedules come to what they are to test.
type countStats struct{ twice, compacted, retries int }

func newCountRun(seed uint64) *countRun {
	return &countRun{cluster: newCluster(seed), held: make(map[*replica]heard)}
}

func (r *countRun) step() error {
	r.nowMS += r.rand.Int64N(RetryForMS / 20)
	p := r.any()
	switch r.rand.IntN(14) {
	case 0, 1, 2:
		return r.addNew(p, r.held[p])
	case 3, 4:
		n := len(r.deltas)
		if i := n - 1 - r.rand.IntN(min(n, 12)+1); i >= 0 && r.firstMS[i] != 0 && r.nowMS-r.firstMS[i] < RetryForMS {
			r.stats.retries++
			return r.add(p, i, r.held[p])
		}
	case 5:
		return r.compact(p)
	case 6:
		if r.rand.IntN(4) == 0 {
			p.actor, p.seq = r.newActor(), 0 // an unclean start that lost nothing
		}
	case 7, 8, 10, 11:
		r.read()
	case 9:
		r.messages = append(r.messages, r.held[p])
		if i := r.rand.IntN(len(r.messages)); len(r.messages) > 8 {
			r.messages = append(r.messages[:i], r.messages[i+1:]...)
		}
	default:
		if len(r.messages) > 0 {
			r.held[p] = r.held[p].plus(r.messages[r.rand.IntN(len(r.messages))])
		}
	}
	return r.check(r.held[p])
}

// addNew runs a new operation on what a replica holds or on more than that.
func (r *countRun) addNew(p *replica, on heard) error {
	firstMS := r.nowMS
	if r.rand.IntN(4) == 0 {
		firstMS = 0
	}
	r.deltas, r.firstMS = append(r.deltas, r.rand.Int64N(21)-10), append(r.firstMS, firstMS)
	return r.add(p, len(r.deltas)-1, on)
}

func (r *countRun) add(p *replica, i int, on heard) error {
	op := object.OpID{}
	if r.firstMS[i] != 0 {
		op = opOf(i)
	}
	c, s, err := Add(on.object, p.mint(), op, r.deltas[i], r.nowMS)
	if err != nil {
		return err
	}
	p.object = r.held[p].object
	if err := p.update(c, s); err != nil {
		return err
	}
	r.held[p] = heard{p.object, on.plus(heard{ops: map[int]bool{i: true}}).ops}
	return r.check(r.held[p])
}

// read goes on with reading the copies of all replicas.
func (r *countRun) read() {
	if len(r.reading.read) == 0 {
		r.reading.readMS = r.nowMS
		if n := len(r.messages); n > 0 && r.rand.IntN(2) == 0 {
			r.reading.others = []heard{r.messages[r.rand.IntN(n)]}
		}
	}
	r.reading.read = append(r.reading.read, r.held[r.replicas[len(r.reading.read)]])
	if len(r.reading.read) == len(r.replicas) {
		r.copies, r.reading = append(r.copies, r.reading), copies{}
	}
}

// compact runs a new operation with copies that were read some time ago.
func (r *countRun) compact(p *replica) error {
	if len(r.copies) == 0 {
		return nil
	}
	from := r.copies[len(r.copies)-1-r.rand.IntN(min(len(r.copies), 3))]
	on := r.held[p]
	copies := Copies{ReadMS: from.readMS}
	for _, h := range from.read {
		copies.Owners = append(copies.Owners, h.object)
		on = on.plus(h)
	}
	for _, h := range from.others {
		copies.Others = append(copies.Others, h.object)
		on = on.plus(h)
	}
	compacted := Compact(r.held[p].object, copies)
	if r.forgotten(compacted) <= r.forgotten(on.object) {
		return r.addNew(p, r.held[p])
	}
	r.stats.compacted++
	on.object = compacted
	return r.addNew(p, on)
}

func (r *countRun) forgotten(o object.Object) uint64 {
	n := uint64(0)
	t, _, _, _ := tallyOf(o, r.nowMS)
	for i := range t {
		n += t[i].first
	}
	return n
}

// check holds the count of what is held against what was heard of.
func (r *countRun) check(h heard) error {
	want := int64(0)
	for i := range h.ops {
		want += r.deltas[i]
	}
	got, ok := Count(h.object, r.nowMS)
	if got != want || ok != (len(h.ops) > 0) {
		return fmt.Errorf("count is %d, %v, want %d", got, ok, want)
	}
	t, _, _, _ := tallyOf(h.object, r.nowMS)
	if len(t.operations()) < t.remembered() {
		r.stats.twice++
	}
	return nil
}

// converge merges what all hold, in two orders.
func (r *countRun) converge() error {
	for range 2 {
		var all heard
		for _, i := range r.rand.Perm(len(r.replicas)) {
			all = all.plus(r.held[r.replicas[i]])
		}
		if len(all.ops) != len(r.deltas) {
			return fmt.Errorf("%d operations were heard of, %d were run", len(all.ops), len(r.deltas))
		}
		if err := r.check(all); err != nil {
			return fmt.Errorf("in the end: %w", err)
		}
	}
	return nil
}

// Each replica, each message and each merge of them counts what it has heard of,
// each operation once: with retries wherever, replication that is late, lost and
// doubled, restarts under new actors, and operations forgotten in between.
func TestCounterCountsEachOperationOnce(t *testing.T) {
	var all countStats
	forSeeds(t, *runsFlag, func(seed uint64) error {
		r := newCountRun(seed)
		for range 250 {
			if err := r.step(); err != nil {
				return err
			}
			if r.rand.IntN(8) == 0 && len(r.messages) > 0 { // a reader merges what some hold
				if err := r.check(r.held[r.any()].plus(r.held[r.any()]).plus(r.messages[r.rand.IntN(len(r.messages))])); err != nil {
					return fmt.Errorf("a read: %w", err)
				}
			}
		}
		all.twice += r.stats.twice
		all.compacted += r.stats.compacted
		all.retries += r.stats.retries
		return r.converge()
	})
	t.Logf("%+v", all)
	if *runsFlag >= 60 && (all.twice < 100 || all.compacted < 100 || all.retries < 100) {
		t.Errorf("the schedules are lopsided: %+v", all)
	}
}
