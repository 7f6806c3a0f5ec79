package nearest

import "testing"

func TestDistance(t *testing.T) {
	for _, tc := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"", "abc", 3}, {"abc", "", 3}, {"kitten", "sitting", 3}, {"flaw", "lawn", 2}, {"zone", "zone", 0}, {"ab", "ba", 2}} {
		if got := distance(tc.a, tc.b); got != tc.want {
			t.Errorf("distance(%q, %q) = %d, want %d", tc.a, tc.b, got, tc.want)
		}
	}
}

func TestName(t *testing.T) {
	names := []string{"ttl", "conflicts", "r", "w", "consistency", "max_siblings", "max_value_bytes"}
	for s, want := range map[string]string{"": "r", "x": "r", "conflict": "conflicts", "consistencey": "consistency", "max_value_byte": "max_value_bytes", "tl": "ttl"} {
		if got := Name(s, names); got != want {
			t.Errorf("nearest to %q: %q, want %q", s, got, want)
		}
	}
}
