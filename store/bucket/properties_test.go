package bucket

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func TestModes(t *testing.T) {
	names := "siblings lww max min union json-merge counter"
	for m, name := range strings.Fields(names) {
		got, err := ParseMode(name)
		if err != nil || got != Mode(m) || got.String() != name {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	if len(strings.Fields(names)) != int(numModes) {
		t.Errorf("%d modes", numModes)
	}
	for _, bad := range []string{"", "LWW", "mode(7)"} {
		if m, err := ParseMode(bad); !errors.Is(err, ErrInvalid) {
			t.Errorf("%q: %v, %v", bad, m, err)
		}
	}
	if got := numModes.String(); got != "mode(7)" {
		t.Errorf("an unknown mode is %s", got)
	}
}

func TestPropertiesValidate(t *testing.T) {
	for _, tc := range []struct {
		p    Properties
		says string // "": valid
	}{
		{Properties{}, ""},
		{Properties{Counter, "all", MaxReplicas, MaxReplicas, MaxTTL, MaxSiblings, MaxValueBytes}, ""},
		{Properties{Level: "one", TTL: MinTTL}, ""},
		{Properties{Level: "two"}, ""},
		{Properties{Level: "three"}, ""},
		{Properties{Level: "quorum"}, ""},
		{Properties{Mode: numModes}, "conflicts mode(7)"},
		{Properties{Level: "any"}, `consistency "any": one,`},
		{Properties{R: MaxReplicas + 1}, "r 256, w 0: at most 255"},
		{Properties{W: MaxReplicas + 1}, "r 0, w 256: at most 255"},
		{Properties{TTL: MinTTL - 1}, "ttl 999.999999ms: 1s to"},
		{Properties{TTL: MaxTTL + 1}, "to 876000h0m0s"},
		{Properties{TTL: -time.Hour}, "ttl -1h0m0s"},
		{Properties{MaxSiblings: MaxSiblings + 1}, "max_siblings 10001: at most 10000"},
		{Properties{MaxValueBytes: MaxValueBytes + 1}, "max_value_bytes 1073741825: at most 1073741824"},
	} {
		err := tc.p.Validate()
		if tc.says == "" && err != nil || tc.says != "" && (!errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), tc.says)) {
			t.Errorf("%+v: %v, want %q", tc.p, err, tc.says)
		}
	}
}
