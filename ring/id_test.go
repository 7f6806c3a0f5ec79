package ring

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
)

func TestNodeIDText(t *testing.T) {
	const text = "000102030405060708090a0b0c0d0eff"
	id := NodeID{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 255}
	if id.String() != text {
		t.Errorf("String() = %s, want %s", id, text)
	}
	for _, s := range []string{text, strings.ToUpper(text)} {
		if got, err := ParseNodeID(s); err != nil || got != id {
			t.Errorf("ParseNodeID(%q) = %v, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "00", text[1:], text + "00", text + " ", "0x" + text[2:], text[:31] + "g", text[:16] + "-" + text[17:]} {
		if got, err := ParseNodeID(s); !errors.Is(err, ErrNodeID) || got != (NodeID{}) {
			t.Errorf("ParseNodeID(%q) = %v, %v, want ErrNodeID", s, got, err)
		}
	}
}

func TestNodeIDJSON(t *testing.T) {
	ids := map[NodeID]NodeID{names(1, 2)[0]: names(1, 2)[1]}
	encoded, err := json.Marshal(ids)
	if err != nil {
		t.Fatal(err)
	}
	var decoded map[NodeID]NodeID
	if err := json.Unmarshal(encoded, &decoded); err != nil || len(decoded) != 1 || decoded[names(1, 2)[0]] != names(1, 2)[1] {
		t.Errorf("%s became %v, %v", encoded, decoded, err)
	}
	id := names(1, 1)[0]
	if err := id.UnmarshalText([]byte("nonsense")); !errors.Is(err, ErrNodeID) || id != names(1, 1)[0] {
		t.Errorf("a refused text made the ID %v, error %v", id, err)
	}
}

func TestNodeIDCompare(t *testing.T) {
	low, high := NodeID{15: 1}, NodeID{0: 1}
	if low.Compare(high) != -1 || high.Compare(low) != 1 || low.Compare(low) != 0 {
		t.Error("IDs are not ordered by their bytes, first byte first")
	}
	if !(NodeID{}).IsZero() || low.IsZero() {
		t.Error("IsZero is wrong")
	}
}

func FuzzParseNodeID(f *testing.F) {
	f.Add("000102030405060708090a0b0c0d0eff")
	f.Add("000102030405060708090A0B0C0D0EFF")
	f.Add("000102030405060708090a0b0c0d0ef")
	f.Add("")
	f.Fuzz(func(t *testing.T, s string) {
		id, err := ParseNodeID(s)
		if err != nil {
			if !errors.Is(err, ErrNodeID) || !id.IsZero() {
				t.Errorf("%q: %v with error %v", s, id, err)
			}
			return
		}
		if id.String() != strings.ToLower(s) {
			t.Errorf("%q was read as %v", s, id)
		}
	})
}
