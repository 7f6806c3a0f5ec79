package resolve

import (
	"strings"
	"testing"

	"starling/store/bucket"
	"starling/store/object"
	"starling/store/version"
)

func TestPutFolds(t *testing.T) {
	for _, tc := range []struct {
		mode        bucket.Mode
		first, then string
		want        string
	}{
		{bucket.Max, "1.50", "1.5", "1.5"},
		{bucket.Max, " 7 ", "-8", "7"},
		{bucket.Min, "7", "-8", "-8"},
		{bucket.Max, "9007199254740993", "9007199254740992", "9007199254740993"},
		{bucket.Max, "1e-400", "0", "1e-400"},
		{bucket.Min, "1e400", "1.0e401", "1e400"},
		{bucket.Union, `["b", 10, 9]`, `["a", "b", {"y":1,"x":1.0}]`, `[9,10,"a","b",{"x":1,"y":1}]`},
		{bucket.Union, `[null,true,false,[2],[1,5]]`, `[{"x":1}]`, `[null,false,true,[1,5],[2],{"x":1}]`},
		{bucket.JSONMerge, `{"a":1,"b":{"c":[1,2]}}`, `{"b":{"d":"é\n\u0001\/"},"a":0}`, `{"a":1,"b":{"c":[1,2],"d":"é\u000a\u0001/"}}`},
		{bucket.JSONMerge, `{"a":{"x":1}}`, `{"a":[9]}`, `{"a":{"x":1}}`},
	} {
		for _, values := range [][2]string{{tc.first, tc.then}, {tc.then, tc.first}} {
			r := &replica{actor: 1}
			write(t, tc.mode, r, version.Context{}, value(values[0]), 1)
			write(t, tc.mode, r, version.Context{}, value(values[1]), 2)
			wantView(t, Read(tc.mode, r.object, 3), tc.want, "")
			if n := len(r.object.Siblings); n != 1 {
				t.Errorf("%d siblings", n)
			}
		}
		a, b := &replica{actor: 1}, &replica{actor: 2}
		write(t, tc.mode, a, version.Context{}, value(tc.first), 1)
		write(t, tc.mode, b, version.Context{}, value(tc.then), 2)
		wantView(t, Read(tc.mode, object.Merge(a.object, b.object), 3), tc.want, "")
	}
}

// A put replaces what its writer had seen, and nothing else.
func TestCorrection(t *testing.T) {
	a, b := &replica{actor: 1}, &replica{actor: 2}
	write(t, bucket.Union, a, version.Context{}, value(`["a","b"]`), 1)
	seen := a.object.Context()
	b.object = a.object
	write(t, bucket.Union, a, seen, value(`["b"]`), 2)
	wantView(t, Read(bucket.Union, a.object, 3), `["b"]`, "")
	// Another who had seen no more adds at the same time.
	c, d := &replica{actor: 3}, &replica{actor: 4}
	write(t, bucket.Union, c, version.Context{}, value(`["c"]`), 2)
	write(t, bucket.Union, d, seen, value(`["d"]`), 2)
	all := object.Merge(object.Merge(a.object, c.object), d.object)
	wantView(t, Read(bucket.Union, all, 3), `["b","c","d"]`, "")
	// Writing with what that reader got leaves one sibling.
	a.object = all
	write(t, bucket.Union, a, all.Context(), value(`[]`), 4)
	wantView(t, Read(bucket.Union, a.object, 5), `[]`, "")
}

// The answer of a put that had others folded into it does not claim to its writer
// that it has seen them.
func TestReplyAfterFolding(t *testing.T) {
	r := &replica{actor: 1}
	write(t, bucket.Max, r, version.Context{}, value("7"), 1)
	c := write(t, bucket.Max, r, version.Context{}, value("5"), 2)
	write(t, bucket.Max, r, c, value("6"), 3)
	wantView(t, Read(bucket.Max, r.object, 4), "7", "")
	// Where nothing was folded in, or nothing that matters, it does.
	c = write(t, bucket.Max, r, r.object.Context(), value("2"), 5)
	write(t, bucket.Max, r, c, value("1"), 6)
	wantView(t, Read(bucket.Max, r.object, 7), "1", "")
	c = write(t, bucket.Max, r, version.Context{}, value("3"), 8)
	write(t, bucket.Max, r, c, value("2"), 9)
	wantView(t, Read(bucket.Max, r.object, 10), "2", "")
	// A delete's answer covers the delete, as that of another mode does.
	c = write(t, bucket.Max, r, r.object.Context(), object.Sibling{Tombstone: true}, 11)
	write(t, bucket.Max, r, c, value("0"), 12)
	if n := len(r.object.Siblings); n != 1 {
		t.Errorf("%d siblings after a put over a delete", n)
	}
}

// Each stamping of a put may have had others folded into it: all count.
func TestFoldedStampings(t *testing.T) {
	a, b := &replica{actor: 1}, &replica{actor: 2}
	s := object.Sibling{Value: []byte(`["x"]`), Op: opOf(1)}
	write(t, bucket.Union, a, version.Context{}, value(`["a"]`), 1)
	write(t, bucket.Union, b, version.Context{}, value(`["b"]`), 1)
	write(t, bucket.Union, a, version.Context{}, s, 2)
	reply := write(t, bucket.Union, b, version.Context{}, s, 2)
	both := object.Merge(a.object, b.object)
	wantView(t, Read(bucket.Union, both, 3), `["a","b","x"]`, "")
	// Nor does a bucket whose mode was changed hide one of them.
	wantView(t, Read(bucket.Siblings, both, 3), `["a","x"] ["b","x"]`, "")
	wantView(t, Read(bucket.Max, both, 3), `["a","x"] ["b","x"]`, "")
	b.object = both
	write(t, bucket.Union, b, reply, value(`["y"]`), 4)
	wantView(t, Read(bucket.Union, b.object, 5), `["a","b","x","y"]`, "")
}

// Values from before the bucket had its mode stay beside the merged one, until a
// writer who has seen them resolves them.
func TestUnfitValues(t *testing.T) {
	r := &replica{actor: 1}
	write(t, bucket.Siblings, r, version.Context{}, value("text"), 1)
	write(t, bucket.Siblings, r, version.Context{}, object.Sibling{Value: []byte("other"), Op: opOf(1)}, 1)
	write(t, bucket.Max, r, version.Context{}, value("1"), 2)
	write(t, bucket.Max, r, version.Context{}, value("2"), 3)
	wantView(t, Read(bucket.Max, r.object, 4), "2 text other", "")
	write(t, bucket.Max, r, r.object.Context(), value("1"), 5)
	wantView(t, Read(bucket.Max, r.object, 6), "1", "")
}

// What is dead is not folded, and does not pile up.
func TestDeadSiblings(t *testing.T) {
	r := &replica{actor: 1}
	other := &replica{actor: 2}
	write(t, bucket.Union, other, version.Context{}, object.Sibling{Tombstone: true}, 1)
	write(t, bucket.Union, r, version.Context{}, object.Sibling{Value: []byte(`["a"]`), ExpiresMS: 10}, 1)
	r.object = object.Merge(r.object, other.object)
	wantView(t, Read(bucket.Union, r.object, 9), `["a"]`, "")
	wantView(t, Read(bucket.Union, r.object, 10), "", "")
	write(t, bucket.Union, r, version.Context{}, object.Sibling{Value: []byte(`["b"]`), ExpiresMS: 20}, 11)
	wantView(t, Read(bucket.Union, r.object, 12), `["b"]`, "")
	if n := len(r.object.Siblings); n != 1 {
		t.Errorf("%d siblings", n)
	}
	// Nothing goes before its time because another value was folded with it.
	write(t, bucket.Union, r, version.Context{}, object.Sibling{Value: []byte(`["c"]`), ExpiresMS: 15}, 12)
	if e := r.object.Siblings[0].ExpiresMS; e != 20 {
		t.Errorf("expires at %d, want 20", e)
	}
	write(t, bucket.Union, r, version.Context{}, value(`["d"]`), 13)
	if e := r.object.Siblings[0].ExpiresMS; e != 0 {
		t.Errorf("expires at %d, want never", e)
	}
}

// What is shown of several siblings bears the newest one's name and the latest expiry.
func TestShownSibling(t *testing.T) {
	a, b := &replica{actor: 1}, &replica{actor: 2}
	write(t, bucket.Max, a, version.Context{}, object.Sibling{Value: []byte("9"), ModifiedMS: 5, ExpiresMS: 100, ContentType: "old"}, 5)
	write(t, bucket.Max, b, version.Context{}, object.Sibling{Value: []byte("3"), ModifiedMS: 6, ExpiresMS: 50, ContentType: "new"}, 6)
	s := Read(bucket.Max, object.Merge(a.object, b.object), 7).Live[0]
	if s.Dot.Actor != 2 || s.ModifiedMS != 6 || s.ExpiresMS != 100 || s.ContentType != "new" || string(s.Value) != "9" {
		t.Errorf("shown is %+v", s)
	}
}

func TestCheck(t *testing.T) {
	deep := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	for _, tc := range []struct {
		mode  bucket.Mode
		value string
		fits  bool
	}{
		{bucket.Siblings, "\xff", true}, {bucket.LWW, "", true},
		{bucket.Counter, "1", false},
		{bucket.Max, "1", true}, {bucket.Min, " -1.5e3\n", true}, {bucket.Max, `"1"`, false}, {bucket.Max, "", false},
		{bucket.Max, "01", false}, {bucket.Max, "1 2", false}, {bucket.Max, "NaN", false}, {bucket.Min, "[1]", false},
		{bucket.Max, "1e1000000000", false}, {bucket.Max, "1e999999999", true}, {bucket.Max, "1e99999999999999999999", false},
		{bucket.Max, strings.Repeat("9", MaxDigits), true}, {bucket.Max, strings.Repeat("9", MaxDigits+1), false},
		{bucket.Max, "0." + strings.Repeat("0", 5000) + "1", true},
		{bucket.Union, "[]", true}, {bucket.Union, "{}", false}, {bucket.Union, "[1,]", false}, {bucket.Union, "[1}", false},
		{bucket.Union, deep(MaxDepth), true}, {bucket.Union, deep(MaxDepth + 1), false}, {bucket.Union, deep(100_000), false},
		{bucket.Union, "[" + strings.Repeat("1,", MaxElements-2) + "1]", true}, {bucket.Union, "[" + strings.Repeat("1,", MaxElements-1) + "1]", false},
		{bucket.JSONMerge, `{"a":1}`, true}, {bucket.JSONMerge, `{"a":1,"a":1}`, false}, {bucket.JSONMerge, `{"a":1,"\u0061":1}`, false},
		{bucket.JSONMerge, `{"a":{"b":1,"b":2}}`, false}, {bucket.JSONMerge, "{\"a\":\"\xff\"}", false}, {bucket.JSONMerge, "[]", false},
		{bucket.JSONMerge, `{"a":"\ud800"}`, false}, {bucket.JSONMerge, `{"a":"\udc00\ud800"}`, false}, {bucket.JSONMerge, `{"a":"\ud83d\ude00"}`, true},
		{bucket.JSONMerge, `{"a":"\ud83dx\ude00"}`, false}, {bucket.JSONMerge, `{"a":"\\ud800"}`, true}, {bucket.JSONMerge, `{"a":1} x`, false},
	} {
		switch err := Check(tc.mode, []byte(tc.value)); {
		case tc.fits && err != nil:
			t.Errorf("%s %.40q: %v", tc.mode, tc.value, err)
		case !tc.fits:
			wantErr(t, err, ErrUnfit)
			if len(tc.value) > 5000 {
				continue // to go over it once is enough
			}
			_, _, err = Put(tc.mode, object.Object{}, version.Context{}, value(tc.value), 1)
			wantErr(t, err, ErrUnfit)
		}
	}
}

// What a put makes must fit the mode again.
func TestFoldTooMany(t *testing.T) {
	r := &replica{actor: 1}
	many := func(first string) string { return "[" + first + strings.Repeat(",[]", MaxElements/2) + "]" }
	nested := func(inner string) string { return `{"` + inner + `":[` + strings.Repeat("0,", MaxElements/2) + `0]}` }
	write(t, bucket.JSONMerge, r, version.Context{}, value(nested("a")), 1)
	_, _, err := Put(bucket.JSONMerge, r.object, version.Context{}, value(nested("b")), 2)
	wantErr(t, err, ErrUnfit)
	r.object = object.Object{}
	write(t, bucket.Union, r, version.Context{}, value(many("1")), 1)
	write(t, bucket.Union, r, version.Context{}, value(many("2")), 2) // a set has [] once
	wantView(t, Read(bucket.Union, r.object, 3), "[1,2,[]]", "")
}
