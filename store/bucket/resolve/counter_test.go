package resolve

import (
	"bytes"
	"encoding/hex"
	"errors"
	"math"
	"testing"

	"starling/store/bucket"
	"starling/store/object"
	"starling/store/version"
)

// add adds to a replica's counter.
func add(r *replica, op object.OpID, delta, nowMS int64) error {
	c, s, err := Add(r.object, r.mint(), op, delta, nowMS)
	if err != nil {
		return err
	}
	return r.update(c, s)
}

func mustAdd(t *testing.T, r *replica, op object.OpID, delta, nowMS int64) {
	t.Helper()
	if err := add(r, op, delta, nowMS); err != nil {
		t.Fatal(err)
	}
}

func wantCount(t *testing.T, o object.Object, want int64) {
	t.Helper()
	if n, ok := Count(o, 1); n != want || !ok {
		t.Errorf("count %d, %v, want %d", n, ok, want)
	}
}

func TestCounterTellsRetriesApart(t *testing.T) {
	a, b := &replica{actor: 1}, &replica{actor: 2}
	mustAdd(t, a, opOf(1), 5, 1)
	mustAdd(t, b, opOf(1), 5, 2) // a was down, and came back with what it has
	mustAdd(t, b, opOf(2), -2, 3)
	both := object.Merge(a.object, b.object)
	wantCount(t, both, 3)
	a.object = both
	mustAdd(t, a, opOf(2), -2, 4) // found, though b ran it
	mustAdd(t, a, object.OpID{}, 1, 5)
	mustAdd(t, a, object.OpID{}, 1, 6) // without an ID each counts
	wantCount(t, a.object, 5)
	if s := a.object.Siblings; len(s) != 1 || s[0].ModifiedMS != 6 || s[0].ContentType != countType {
		t.Errorf("siblings %+v", s)
	}
	wantView(t, Read(bucket.Counter, a.object, 7), "5", "")
}

func TestCounterReset(t *testing.T) {
	a, b := &replica{actor: 1}, &replica{actor: 2}
	mustAdd(t, a, opOf(1), 5, 1)
	b.object = a.object
	write(t, bucket.Counter, a, a.object.Context(), object.Sibling{Tombstone: true}, 2)
	if n, ok := Count(a.object, 2); ok {
		t.Errorf("a deleted counter is %d", n)
	}
	wantView(t, Read(bucket.Counter, a.object, 2), "", "")
	mustAdd(t, a, opOf(2), 1, 3)
	wantCount(t, a.object, 1)
	// The old copy does not bring back what was reset.
	wantCount(t, object.Merge(a.object, b.object), 1)
	// What the delete had not seen stays.
	mustAdd(t, b, opOf(3), 10, 3)
	wantCount(t, object.Merge(a.object, b.object), 11)
	_, _, err := Put(bucket.Counter, a.object, version.Context{}, value("7"), 4)
	wantErr(t, err, ErrUnfit)
}

func TestCounterExpires(t *testing.T) {
	a := &replica{actor: 1}
	c, s, err := Add(a.object, a.mint(), opOf(1), 5, 1)
	must(err)
	s.ExpiresMS = 10
	must(a.update(c, s))
	wantView(t, Read(bucket.Counter, a.object, 9), "5", "")
	wantView(t, Read(bucket.Counter, a.object, 10), "", "")
	mustAdd(t, a, opOf(2), 1, 11)
	wantCount(t, a.object, 1)
}

// Values from before the bucket counted stay beside the count.
func TestCounterBesideOthers(t *testing.T) {
	a := &replica{actor: 1}
	write(t, bucket.Siblings, a, version.Context{}, value("12"), 1)
	mustAdd(t, a, opOf(1), 5, 2)
	mustAdd(t, a, opOf(2), 5, 3)
	wantView(t, Read(bucket.Counter, a.object, 4), "10 12", "")
	b := &replica{actor: 2}
	b.object = a.object
	wantView(t, Read(bucket.Counter, object.Object{Vector: a.object.Vector, Siblings: a.object.Siblings[:1]}, 4), "12", "")
	write(t, bucket.Counter, a, a.object.Context(), object.Sibling{Tombstone: true}, 4)
	wantView(t, Read(bucket.Counter, object.Merge(a.object, b.object), 5), "", "")
}

func TestCounterRange(t *testing.T) {
	a, b := &replica{actor: 1}, &replica{actor: 2}
	mustAdd(t, a, object.OpID{}, math.MaxInt64, 1)
	wantErr(t, add(a, object.OpID{}, 1, 2), ErrRange)
	wantErr(t, add(a, opOf(1), 1, 2), ErrRange)
	mustAdd(t, b, object.OpID{}, math.MaxInt64, 1)
	both := object.Merge(a.object, b.object)
	wantView(t, Read(bucket.Counter, both, 3), "18446744073709551614", "")
	if n, ok := Count(both, 3); ok {
		t.Errorf("count %d", n)
	}
	b.object = both
	mustAdd(t, b, opOf(2), -math.MaxInt64, 4)
	wantCount(t, b.object, math.MaxInt64)
	mustAdd(t, b, opOf(3), math.MinInt64, 4)
	wantCount(t, b.object, -1)
	wantErr(t, add(b, opOf(4), math.MinInt64, 5), ErrRange)
	wantCount(t, b.object, -1)
}

// A full counter takes no new operation, but retries and those without an ID. It
// compacts when all owners know what it remembers, and none can be retried.
func TestCounterFull(t *testing.T) {
	a := &replica{actor: 1}
	mustAdd(t, a, opOf(0), 1, 0)
	grow(t, a, MaxRecent)
	wantErr(t, add(a, opOf(MaxRecent), 1, 1), ErrBusy)
	mustAdd(t, a, opOf(77), 1, 1)
	mustAdd(t, a, object.OpID{}, 1, 1)
	wantCount(t, a.object, MaxRecent+1)
	const lateMS = RetryForMS + MaxRecent
	if Crowded(a.object, RetryForMS+CompactAt-2) || !Crowded(a.object, RetryForMS+CompactAt-1) {
		t.Error("crowded at the wrong time")
	}
	behind := &replica{actor: 2}
	forgotten := func(copies []object.Object, readMS int64) int {
		from, _, _, _ := tallyOf(a.object, 1)
		to, _, _, _ := tallyOf(Compact(a.object, Copies{Owners: copies, ReadMS: readMS}), 1)
		return from.remembered() - to.remembered()
	}
	mustAdd(t, behind, opOf(3), 1, 1)
	for _, tc := range []struct {
		copies []object.Object
		readMS int64
		want   int
	}{
		{nil, lateMS, 0},
		{[]object.Object{a.object, {}}, lateMS, 0},
		{[]object.Object{a.object, behind.object}, lateMS, 0}, // it knows the fourth alone
		{[]object.Object{a.object, a.object}, RetryForMS - 1, 0},
		{[]object.Object{a.object, a.object}, RetryForMS + 9, 10},
		{[]object.Object{a.object, a.object}, lateMS, MaxRecent},
	} {
		if n := forgotten(tc.copies, tc.readMS); n != tc.want {
			t.Errorf("%d operations were forgotten, want %d", n, tc.want)
		}
	}
	c, s, err := Add(Compact(a.object, Copies{Owners: []object.Object{a.object}, ReadMS: lateMS}), a.mint(), opOf(MaxRecent), 1, lateMS)
	must(err)
	must(a.update(c, s))
	wantCount(t, a.object, MaxRecent+2)
	if n := len(a.object.Siblings[0].Value); n > 100 {
		t.Errorf("%d bytes remain of a compacted counter", n)
	}
}

// grow does what add does for operations by numbers, up to so many, each a
// millisecond after the one before, without writing each down.
func grow(t *testing.T, r *replica, operations int) {
	t.Helper()
	state, err := decodeTally(r.object.Siblings[0].Value)
	must(err)
	for i := len(state[0].recent); i < operations; i++ {
		state[0].recent = append(state[0].recent, increment{tagOf(opOf(i)), 1, int64(i)})
	}
	r.object.Siblings[0].Value = state.append(nil)
}

// What not all copies know stays, with all that stands behind it in a list.
func TestCompactByWhatCopiesKnow(t *testing.T) {
	a, b := &replica{actor: 1}, &replica{actor: 2}
	mustAdd(t, a, opOf(1), 1, 0)
	b.object = a.object
	mustAdd(t, a, opOf(2), 2, 0)
	mustAdd(t, b, opOf(3), 4, 0)
	mustAdd(t, b, opOf(2), 2, RetryForMS) // run there too, and later
	copies := []object.Object{a.object, b.object}
	// The first goes. a does not know the third, so the run of the second behind it
	// stays, and with that the other run of the second.
	for _, readMS := range []int64{RetryForMS, 2 * RetryForMS} {
		o := Compact(a.object, Copies{Owners: copies, ReadMS: readMS})
		n, _ := Count(o, 1)
		if state, _, _, _ := tallyOf(o, 1); n != 7 || state.remembered() != 3 {
			t.Errorf("read at %d: count %d, %d remembered, want 7 and 3", readMS, n, state.remembered())
		}
	}
	// Now each copy knows all. Of both runs of the second one counts.
	both := object.Merge(a.object, b.object)
	o := Compact(a.object, Copies{Owners: []object.Object{both, both}, ReadMS: 2 * RetryForMS})
	if n, _ := Count(o, 1); n != 7 {
		t.Errorf("count %d, want 7", n)
	}
	if state, _, _, _ := tallyOf(o, 1); state.remembered() != 0 || state[0].folded != 3 || state[1].folded != 4 {
		t.Errorf("%+v", state)
	}
	// Not while one of the runs is too young, nor what comes after it.
	o = Compact(a.object, Copies{Owners: []object.Object{both, both}, ReadMS: 2*RetryForMS - 1})
	if state, _, _, _ := tallyOf(o, 1); state.remembered() != 2 || state[0].first != 1 || state[1].first != 1 {
		t.Errorf("%+v", state)
	}
}

// While a delete is on its way nothing is forgotten: a sibling that does not know
// of it could bring a run of an operation back.
func TestCompactDuringReset(t *testing.T) {
	small, great := &replica{actor: 1}, &replica{actor: 2}
	mustAdd(t, small, opOf(1), 1, 0)
	unaware := &replica{actor: 3, object: small.object}
	write(t, bucket.Counter, small, small.object.Context(), object.Sibling{Tombstone: true}, 1)
	mustAdd(t, great, opOf(1), 1, 2) // a retry that the delete has not seen
	small.object = object.Merge(small.object, great.object)
	unaware.object = object.Merge(unaware.object, great.object)
	great.object = small.object
	compacted := Compact(great.object, Copies{Owners: []object.Object{small.object, great.object, unaware.object}, ReadMS: 2 * RetryForMS})
	c, s, err := Add(compacted, great.mint(), opOf(2), 10, 2*RetryForMS)
	must(err)
	must(great.update(c, s))
	mustAdd(t, unaware, opOf(3), 100, 2*RetryForMS)
	wantCount(t, object.Merge(great.object, unaware.object), 111)
	// Once all know of it there is nothing in the way.
	all := object.Merge(object.Merge(great.object, unaware.object), small.object)
	if state, _, _, _ := tallyOf(Compact(all, Copies{Owners: []object.Object{all, all, all}, ReadMS: 3 * RetryForMS}), 1); state.remembered() != 0 {
		t.Errorf("%+v", state)
	}
}

// A share that began anew has nothing of what the old one had forgotten.
func TestResetAfterCompact(t *testing.T) {
	a := &replica{actor: 1}
	mustAdd(t, a, opOf(1), 5, 0)
	c, s, err := Add(Compact(a.object, Copies{Owners: []object.Object{a.object}, ReadMS: RetryForMS}), a.mint(), opOf(2), 5, RetryForMS)
	must(err)
	must(a.update(c, s))
	old, _, _, _ := tallyOf(a.object, 1)
	write(t, bucket.Counter, a, a.object.Context(), object.Sibling{Tombstone: true}, RetryForMS)
	mustAdd(t, a, opOf(3), 1, RetryForMS)
	anew, _, _, _ := tallyOf(a.object, 1)
	for _, merged := range []tally{mergeTallies(old, anew), mergeTallies(anew, old)} {
		if n, _ := merged.count().int64(); n != 1 || old[0].first != 1 {
			t.Errorf("count %d, want 1", n)
		}
	}
}

// A sum that 64 bits do not hold is not made by forgetting.
func TestCompactRange(t *testing.T) {
	state := tally{
		{actor: 1, since: 1, seq: 3, recent: []increment{{tagOf(opOf(1)), math.MinInt64, 0}}},
		{actor: 2, since: 1, seq: 3, folded: math.MaxInt64 - 1, recent: []increment{{tagOf(opOf(1)), math.MinInt64, 0}, {tagOf(opOf(2)), 5, 0}}},
	}
	if next, ok := state.forget(func(increment) bool { return true }); ok {
		t.Errorf("%+v", next)
	}
}

var goldenTally = tally{
	{actor: 0x0102030405060708, since: 300, seq: 301, direct: -1, folded: 64, first: 2},
	{actor: math.MaxUint64, since: 1, seq: math.MaxUint64, direct: math.MinInt64, folded: math.MaxInt64, recent: []increment{
		{tagOf(opOf(1)), 3, 1_700_000_000_000}, {tagOf(opOf(2)), -3, 1_699_999_999_999}, {tagOf(opOf(3)), 0, math.MinInt64}, {tagOf(opOf(4)), 1, math.MaxInt64},
	}},
}

func TestTallyEncoding(t *testing.T) {
	b := goldenTally.append(nil)
	if len(b) > goldenTally.size() {
		t.Errorf("%d bytes where at most %d were announced", len(b), goldenTally.size())
	}
	got, err := decodeTally(b)
	if err != nil || !bytes.Equal(got.append(nil), b) || len(got) != 2 || len(got[1].recent) != 4 || got[1].recent[3] != goldenTally[1].recent[3] {
		t.Errorf("%+v, %v", got, err)
	}
	for n := range b {
		if _, err := decodeTally(b[:n]); !errors.Is(err, errTally) {
			t.Fatalf("the first %d bytes: %v", n, err)
		}
	}
	const want = "ff636f756e7401" + "02" +
		"0102030405060708" + "ac02" + "01" + "01" + "8001" + "02" + "00" +
		"ffffffffffffffff" + "01" + "feffffffffffffffff01" + "ffffffffffffffffff01" + "feffffffffffffffff01" + "00" + "04" +
		"0101000000000000" + "06" + "80a0abfef962" +
		"0102000000000000" + "05" + "01" +
		"0103000000000000" + "00" + "82e0d481869dffffff01" +
		"0104000000000000" + "02" + "01"
	if got := hex.EncodeToString(b); got != want {
		t.Errorf("bytes %s, want %s", got, want)
	}
}

func FuzzTally(f *testing.F) {
	f.Add(goldenTally.append(nil), goldenTally[:1].append(nil))
	f.Add([]byte(tallyFormat+"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), []byte(tallyFormat+"\x00"))
	f.Add(append(goldenTally.append(nil), 0), goldenTally[1:].append(nil))
	f.Fuzz(func(t *testing.T, x, y []byte) {
		a, errA := decodeTally(x)
		b, errB := decodeTally(y)
		if errA == nil && !bytes.Equal(a.append(nil), x) {
			t.Fatalf("%x is encoded again as %x", x, a.append(nil))
		}
		if errA != nil || errB != nil {
			return
		}
		// Nothing that decodes makes the rest panic, or leads to what does not decode.
		merged := mergeTallies(a, b)
		merged.count().append(nil)
		next, _ := merged.forget(func(inc increment) bool { return inc.delta >= 0 })
		if _, err := decodeTally(next.append(nil)); err != nil {
			t.Fatalf("%+v: %v", next, err)
		}
	})
}
