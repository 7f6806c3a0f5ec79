package client

import (
	"math/rand/v2"
	"testing"

	"github.com/cespare/xxhash/v2"
)

func TestXXH64EqualsReference(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for n := range 300 {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		if got, want := xxh64(b), xxhash.Sum64(b); got != want {
			t.Fatalf("%d bytes: %x, want %x", n, got, want)
		}
	}
}

func TestKeyHash(t *testing.T) {
	for _, k := range [][2]string{{"b", "k"}, {"carts", "alice"}, {"b", "\x00"}, {"b", string(make([]byte, 1024))}} {
		if got, want := keyHash(k[0], k[1]), xxhash.Sum64String(k[0]+"\x00"+k[1]); got != want {
			t.Errorf("%q: %x, want %x", k, got, want)
		}
	}
}
