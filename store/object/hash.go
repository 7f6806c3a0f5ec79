package object

import (
	"github.com/cespare/xxhash/v2"

	"starling/store/version"
)

// Hash is the fingerprint that replicas compare: XXH64 (seed 0) of bucket, a
// zero byte, key, a zero byte, the encoded vector, and the dots of the
// siblings. A dot names its content, so values are not hashed. It is 0 for
// the absent object alone. The hash is a wire format.
func (o Object) Hash(bucket, key string) uint64 {
	if o.Absent() {
		return 0
	}
	var d xxhash.Digest
	d.Reset()
	var stack [128]byte
	buf := append(append(stack[:0], bucket...), 0)
	_, _ = d.Write(buf) // a Digest takes every write
	_, _ = d.WriteString(key)
	buf = version.AppendVector(append(buf[:0], 0), o.Vector)
	for i := range o.Siblings {
		buf = version.AppendDot(buf, o.Siblings[i].Dot)
	}
	_, _ = d.Write(buf)
	if h := d.Sum64(); h != 0 {
		return h
	}
	return 1
}
