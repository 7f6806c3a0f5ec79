package resolve

import (
	"slices"
	"strings"
	"testing"

	"starling/store/bucket"
	"starling/store/object"
	"starling/store/version"
)

const minuteMS = 60_000

// write puts a value, or deletes where it is empty, and returns the reply's context.
func write(t *testing.T, m bucket.Mode, r *replica, c version.Context, s object.Sibling, nowMS int64) version.Context {
	t.Helper()
	wrote := s.Value
	c2, s, err := Put(m, r.object, c, s, nowMS)
	if err != nil {
		t.Fatal(err)
	}
	s.Dot = r.mint()
	if err := r.update(c2, s); err != nil {
		t.Fatal(err)
	}
	return Reply(r.object, c, s.Dot, wrote)
}

func value(v string) object.Sibling { return object.Sibling{Value: []byte(v)} }

func wantView(t *testing.T, v View, live, previous string) {
	t.Helper()
	var lost []string
	for _, s := range v.Previous {
		lost = append(lost, string(s.Value))
	}
	if l, p := strings.Join(shown(v), " "), strings.Join(lost, " "); l != live || p != previous {
		t.Errorf("a reader sees %q, previous %q, want %q and %q", l, p, live, previous)
	}
}

func TestPreviousValues(t *testing.T) {
	r := &replica{actor: 1}
	read := func(nowMS int64) View { return Read(bucket.LWW, r.object, nowMS) }
	for i, v := range []string{"a", "b", "c", "d", "e"} {
		write(t, bucket.LWW, r, version.Context{}, value(v), int64(i)*minuteMS)
	}
	wantView(t, read(4*minuteMS), "e", "d c b")
	if n := len(r.object.Siblings); n != 1+MaxPrevious {
		t.Errorf("%d siblings are stored", n)
	}
	// d lost at 4 min, c at 3 and b at 2: each goes ten minutes later.
	wantView(t, read(12*minuteMS-1), "e", "d c b")
	wantView(t, read(12*minuteMS), "e", "d c")
	wantView(t, read(14*minuteMS), "e", "")
	// The next put drops what is kept no longer, though it has room.
	write(t, bucket.LWW, r, version.Context{}, value("f"), 13*minuteMS)
	wantView(t, read(13*minuteMS), "f", "e d")
	if n := len(r.object.Siblings); n != 3 {
		t.Errorf("%d siblings are stored, want 3", n)
	}
	// A reader has seen the previous values too: its put supersedes them.
	write(t, bucket.LWW, r, r.object.Context(), value("g"), 13*minuteMS)
	wantView(t, read(13*minuteMS), "g", "")
}

// A clock an hour behind stamps later than what its replica holds. Of puts that
// saw nothing of each other the newest stamp wins.
func TestSkewedClocks(t *testing.T) {
	const now, hour = 100 * 60 * minuteMS, 60 * minuteMS
	right, slow := &replica{actor: 1}, &replica{actor: 2}
	write(t, bucket.LWW, right, version.Context{}, value("right"), now)
	write(t, bucket.LWW, slow, version.Context{}, value("slow"), now-hour)
	merged := object.Merge(right.object, slow.object)
	wantView(t, Read(bucket.LWW, merged, now), "right", "slow")
	slow.object = merged
	write(t, bucket.LWW, slow, version.Context{}, value("after"), now-hour)
	wantView(t, Read(bucket.LWW, slow.object, now), "after", "right slow")
	// One that read on the other side wins though its stamp is older.
	far := &replica{actor: 3}
	write(t, bucket.LWW, far, merged.Context(), value("read"), now-hour)
	wantView(t, Read(bucket.LWW, object.Merge(merged, far.object), now), "read", "")
}

func TestFutureStamps(t *testing.T) {
	const now = 1_000_000_000_000
	r := &replica{actor: 1}
	write(t, bucket.LWW, r, version.Context{}, value("far"), now+MaxAheadMS)
	before := string(r.object.Append(nil))
	_, _, err := Put(bucket.LWW, r.object, version.Context{}, value("next"), now)
	wantErr(t, err, ErrFuture)
	if string(r.object.Append(nil)) != before {
		t.Error("a refused put changed something")
	}
	// Who has seen the stamp can free the key from it; a millisecond later anybody can.
	_, s, err := Put(bucket.LWW, r.object, r.object.Context(), value("next"), now)
	if err != nil || s.ModifiedMS != now {
		t.Errorf("stamp %d, error %v", s.ModifiedMS, err)
	}
	_, s, err = Put(bucket.LWW, r.object, version.Context{}, value("next"), now+1)
	if err != nil || s.ModifiedMS != now+1+MaxAheadMS {
		t.Errorf("stamp %d, error %v", s.ModifiedMS, err)
	}
}

// The newest counts even where it is not shown, so what lost does not come back.
func TestNewestIsGone(t *testing.T) {
	r := &replica{actor: 1}
	write(t, bucket.LWW, r, version.Context{}, value("old"), 1)
	write(t, bucket.LWW, r, version.Context{}, object.Sibling{Value: []byte("brief"), ExpiresMS: 100}, 2)
	wantView(t, Read(bucket.LWW, r.object, 99), "brief", "old")
	wantView(t, Read(bucket.LWW, r.object, 100), "", "old")
	write(t, bucket.LWW, r, version.Context{}, object.Sibling{Tombstone: true}, 101)
	wantView(t, Read(bucket.LWW, r.object, 101), "", "old")
	if n := len(r.object.Siblings); n != 2 { // what expired is not kept
		t.Errorf("%d siblings", n)
	}
	write(t, bucket.LWW, r, version.Context{}, value("new"), 102)
	wantView(t, Read(bucket.LWW, r.object, 102), "new", "old")
	if slices.ContainsFunc(r.object.Siblings, func(s object.Sibling) bool { return s.Tombstone }) {
		t.Error("a tombstone that lost is kept")
	}
}

// One put that was stamped at two replicas is not its own previous value.
func TestStampedTwice(t *testing.T) {
	a, b := &replica{actor: 1}, &replica{actor: 2}
	s := object.Sibling{Value: []byte("v"), Op: opOf(1)}
	write(t, bucket.LWW, a, version.Context{}, value("old"), 1)
	write(t, bucket.LWW, a, version.Context{}, s, 2)
	write(t, bucket.LWW, b, version.Context{}, s, 3)
	both := object.Merge(a.object, b.object)
	wantView(t, Read(bucket.LWW, both, 4), "v", "old")
	wantView(t, Read(bucket.Siblings, both, 4), "old v", "")
}
