package object_test

import (
	"testing"

	"starling/store/object"
	"starling/store/version"
)

// ordinary is an object as most are: three actors, one value of 1 KB.
func ordinary() object.Object {
	return object.Object{
		Vector: version.Vector{dot(1<<60, 1e6), dot(1<<61, 1e6), dot(1<<62, 1e6)},
		Siblings: []object.Sibling{{
			Dot:         dot(1<<61, 1e6),
			Op:          object.OpID{1},
			ContentType: "application/octet-stream",
			Value:       make([]byte, 1024),
			ModifiedMS:  1_700_000_000_000,
		}},
	}
}

func BenchmarkAppend(b *testing.B) {
	o := ordinary()
	dst := make([]byte, 0, o.Size())
	b.ReportAllocs()
	b.SetBytes(int64(o.Size()))
	for b.Loop() {
		dst = o.Append(dst[:0])
	}
}

func BenchmarkDecode(b *testing.B) {
	enc := ordinary().Append(nil)
	b.ReportAllocs()
	b.SetBytes(int64(len(enc)))
	for b.Loop() {
		if _, err := object.Decode(enc); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkUpdate(b *testing.B) {
	o := ordinary()
	s := o.Siblings[0]
	s.Dot.Seq++
	limits := object.Limits{Siblings: 100, Bytes: 1 << 20}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := o.Update(o.Context(), s, limits); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkReply(b *testing.B) {
	o := ordinary()
	b.ReportAllocs()
	for b.Loop() {
		o.Reply(o.Context(), o.Siblings[0].Dot)
	}
}

func BenchmarkMerge(b *testing.B) {
	o := ordinary()
	s := o.Siblings[0]
	s.Dot.Seq++
	p, err := o.Update(o.Context(), s, object.Limits{})
	if err != nil {
		b.Fatal(err)
	}
	b.Run("newer", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			object.Merge(o, p)
		}
	})
	b.Run("same", func(b *testing.B) {
		same, err := object.Decode(o.Append(nil))
		if err != nil {
			b.Fatal(err)
		}
		b.ReportAllocs()
		for b.Loop() {
			object.Merge(o, same)
		}
	})
}

func BenchmarkHash(b *testing.B) {
	o := ordinary()
	b.ReportAllocs()
	for b.Loop() {
		o.Hash("bucket", "some/ordinary/key")
	}
}
