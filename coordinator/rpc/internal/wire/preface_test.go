package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"strings"
	"testing"
)

func TestPrefaceRoundTrip(t *testing.T) {
	want := Preface{Versions: Versions{3, 7}, Features: 1 << 63, Cluster: [16]byte{1}, Node: [16]byte{2}}
	r := strings.NewReader(string(AppendPreface(nil, want)) + "next")
	got, err := ReadPreface(r)
	if err != nil || got != want {
		t.Fatalf("got %+v, %v", got, err)
	}
	if rest, _ := io.ReadAll(r); string(rest) != "next" {
		t.Fatalf("left %q", rest)
	}
}

// A later version may append to the body.
func TestPrefaceOfLaterVersion(t *testing.T) {
	want := Preface{Versions: Versions{1, 9}, Node: [16]byte{2}}
	b := AppendPreface(nil, want)
	b = append(b[:len(b)-4], "more"...)
	binary.LittleEndian.PutUint16(b[len(magic):], prefaceBodyBytes+4)
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
	if got, err := ReadPreface(bytes.NewReader(b)); err != nil || got != want {
		t.Fatalf("got %+v, %v", got, err)
	}
}

func TestPrefaceRefused(t *testing.T) {
	good := AppendPreface(nil, Preface{Versions: Versions{1, 1}})
	corrupt := bytes.Clone(good)
	corrupt[20] ^= 1
	long := bytes.Clone(good)
	long[len(magic)+1] = 0xff
	for _, c := range []struct {
		name string
		in   []byte
		want error
		text string
	}{
		{"HTTP server", []byte("HTTP/1.1 400 Bad Request\r\n"), ErrMagic, "speaks HTTP"},
		{"something else", []byte("220 mail.example ESMTP\r\n"), ErrMagic, "220 mail"},
		{"bad checksum", corrupt, ErrCorrupt, "checksum"},
		{"body too long", long, ErrCorrupt, "65324"},
		{"empty range", AppendPreface(nil, Preface{Versions: Versions{2, 1}}), ErrCorrupt, "2 to 1"},
		{"nothing", nil, io.EOF, "no preface"},
		{"cut short", good[:30], io.ErrUnexpectedEOF, "cut short"},
	} {
		_, err := ReadPreface(bytes.NewReader(c.in))
		if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: got %v", c.name, err)
		}
	}
}

func TestAgree(t *testing.T) {
	a, b := [16]byte{1}, [16]byte{2}
	for _, c := range []struct {
		name         string
		ours, theirs Preface
		version      uint16
		err          error
	}{
		{"same", Preface{Versions: Versions{1, 1}, Cluster: a}, Preface{Versions: Versions{1, 1}, Cluster: a}, 1, nil},
		{"theirs is newer", Preface{Versions: Versions{1, 2}}, Preface{Versions: Versions{2, 3}}, 2, nil},
		{"ours is newer", Preface{Versions: Versions{2, 3}}, Preface{Versions: Versions{1, 2}}, 2, nil},
		{"too new", Preface{Versions: Versions{1, 1}}, Preface{Versions: Versions{2, 3}}, 0, ErrVersion},
		{"too old", Preface{Versions: Versions{3, 4}}, Preface{Versions: Versions{1, 2}}, 0, ErrVersion},
		{"we have not joined", Preface{Versions: Versions{1, 1}}, Preface{Versions: Versions{1, 1}, Cluster: a}, 1, nil},
		{"they have not", Preface{Versions: Versions{1, 1}, Cluster: a}, Preface{Versions: Versions{1, 1}}, 1, nil},
		{"two clusters", Preface{Versions: Versions{1, 1}, Cluster: a}, Preface{Versions: Versions{1, 1}, Cluster: b}, 0, ErrWrongCluster},
	} {
		v, err := agree(c.ours, c.theirs)
		if v != c.version || !errors.Is(err, c.err) {
			t.Errorf("%s: got %d, %v", c.name, v, err)
		}
	}
	_, err := agree(Preface{Cluster: a}, Preface{Cluster: b})
	var wrong *WrongClusterError
	if !errors.As(err, &wrong) || wrong.Ours != a || wrong.Theirs != b {
		t.Fatalf("got %v", err)
	}
	for _, id := range []string{"01000000000000000000000000000000", "02000000000000000000000000000000"} {
		if !strings.Contains(err.Error(), id) {
			t.Errorf("%q does not name %s", err, id)
		}
	}
}

func FuzzPreface(f *testing.F) {
	f.Add(AppendPreface(nil, Preface{Versions: Versions{1, 2}, Cluster: [16]byte{1}, Node: [16]byte{2}}))
	f.Add([]byte("HTTP/1.1 400"))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := ReadPreface(bytes.NewReader(b))
		if err != nil {
			return
		}
		again, err := ReadPreface(bytes.NewReader(AppendPreface(nil, p)))
		if err != nil || again != p {
			t.Fatalf("%+v became %+v, %v", p, again, err)
		}
	})
}
