package wire

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write the golden files")

func TestFrameRoundTrip(t *testing.T) {
	for _, size := range []int{0, 1, 1 << 10, readBufferBytes + 1, firstChunkBytes, firstChunkBytes + 1, 5*firstChunkBytes + 3} {
		body := strings.Repeat("x", size)
		want := header{length: uint32(size), id: 1<<40 | 7, kind: kindRequest, method: 3, flags: 1, budget: 12}
		in := newFrameReader(bytes.NewReader(append(frame(want, body), frame(header{kind: kindPing}, "")...)), MaxPayload)
		h, payload, err := in.next()
		if err != nil || h != want || string(payload) != body {
			t.Fatalf("size %d: got %+v, %d bytes, %v", size, h, len(payload), err)
		}
		if h, _, err = in.next(); err != nil || h.kind != kindPing {
			t.Fatalf("size %d: frame after it: %+v, %v", size, h, err)
		}
		if _, _, err = in.next(); err != io.EOF {
			t.Fatalf("size %d: end: %v", size, err)
		}
	}
}

func TestFrameCutShort(t *testing.T) {
	whole := frame(header{id: 1, kind: kindRequest}, "payload")
	for n := 1; n < len(whole); n++ {
		_, _, err := newFrameReader(bytes.NewReader(whole[:n]), MaxPayload).next()
		if err != io.ErrUnexpectedEOF {
			t.Fatalf("%d of %d bytes: %v", n, len(whole), err)
		}
	}
}

func TestFrameBitFlips(t *testing.T) {
	whole := frame(header{id: 1, kind: kindRequest, method: 2, budget: 3}, "payload")
	for bit := range 8 * len(whole) {
		bad := bytes.Clone(whole)
		bad[bit/8] ^= 1 << (bit % 8)
		if _, _, err := newFrameReader(bytes.NewReader(bad), MaxPayload).next(); err == nil {
			t.Fatalf("flip of bit %d went unnoticed", bit)
		}
	}
}

func TestFrameTooLarge(t *testing.T) {
	big := frame(header{kind: kindRequest}, strings.Repeat("x", 101))
	_, _, err := newFrameReader(bytes.NewReader(big), 100).next()
	wantErr(t, err, ErrCorrupt)
}

// A length that is declared and not delivered must not cost its memory.
func TestDeclaredLengthAllocatesLittle(t *testing.T) {
	head := frame(header{kind: kindRequest}, "")
	head[7] = 0x03 // little-endian length: 48 MiB
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, _, err := newFrameReader(bytes.NewReader(append(head, 1, 2, 3)), MaxPayload).next()
	runtime.ReadMemStats(&after)
	if err != io.ErrUnexpectedEOF {
		t.Fatalf("got %v", err)
	}
	if got := after.TotalAlloc - before.TotalAlloc; got > 4*firstChunkBytes {
		t.Fatalf("allocated %d bytes for a frame that never came", got)
	}
}

func TestBudget(t *testing.T) {
	now := time.Unix(1000, 0)
	for _, c := range []struct {
		name     string
		deadline time.Time
		want     uint32
	}{
		{"none", time.Time{}, 0},
		{"late", now.Add(-time.Second), 1},
		{"now", now, 1},
		{"a millisecond", now.Add(time.Millisecond), 1000},
		{"beyond the field", now.Add(72 * time.Minute), 1<<32 - 1},
	} {
		if got := budget(c.deadline, now); got != c.want {
			t.Errorf("%s: got %d, want %d", c.name, got, c.want)
		}
	}
}

// golden compares bytes with those of an earlier build.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", "golden", name+".hex")
	text := hex.Dump(got)
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if text != string(want) {
		t.Errorf("%s changed: nodes of different versions would not understand each other\ngot:\n%s\nwant:\n%s", name, text, want)
	}
}

func TestGolden(t *testing.T) {
	golden(t, "request", frame(header{id: 0x0102030405060708, kind: kindRequest, method: 3, budget: 1_500_000}, "hello"))
	golden(t, "response", frame(header{id: 0x0102030405060708, kind: kindResponse}, "hello"))
	golden(t, "error", frame(header{id: 9, kind: kindError}, "oh"))
	golden(t, "cancel", frame(header{id: 9, kind: kindCancel}, ""))
	golden(t, "ping", frame(header{kind: kindPing}, ""))
	golden(t, "pong", frame(header{kind: kindPong}, ""))
	golden(t, "goaway", frame(header{kind: kindGoAway}, ""))
	golden(t, "preface", AppendPreface(nil, Preface{
		Versions: Versions{1, 2}, Features: 3, Cluster: [16]byte{0: 0xc1, 15: 0xc2}, Node: [16]byte{0: 0xa1, 15: 0xa2},
	}))
}

// FuzzFrames feeds a stream: whatever is taken for a frame is what sealing it
// again gives.
func FuzzFrames(f *testing.F) {
	f.Add(frame(header{id: 1, kind: kindRequest, method: 1, budget: 5}, "body"))
	f.Add(append(frame(header{kind: kindPing}, ""), frame(header{id: 2, kind: kindError}, "x")...))
	f.Add(frame(header{kind: 200, flags: 7}, "unknown"))
	f.Add([]byte("GET / HTTP/1.1\r\nHost: example\r\n\r\n"))
	f.Fuzz(func(t *testing.T, stream []byte) {
		in := newFrameReader(bytes.NewReader(stream), 1<<20)
		rest := stream
		for {
			h, payload, err := in.next()
			if err != nil {
				if !errors.Is(err, ErrCorrupt) && err != io.EOF && err != io.ErrUnexpectedEOF {
					t.Fatalf("unexpected error %v", err)
				}
				return
			}
			again := frame(h, string(payload))
			if !bytes.HasPrefix(rest, again) {
				t.Fatalf("frame %+v is not what was sent", h)
			}
			rest = rest[len(again):]
		}
	})
}
