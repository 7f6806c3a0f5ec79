package topology

import "testing"

func TestWords(t *testing.T) {
	numbers := []int{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}
	for _, tc := range []struct{ got, want string }{
		{list(numbers[:0]), ""},
		{list(numbers[:1]), "1"},
		{list(numbers[:2]), "1 and 2"},
		{list(numbers[:9]), "1, 2, 3, 4, 5, 6, 7, 8 and 9"},
		{list(numbers), "1, 2, 3, 4, 5, 6, 7, 8 and 2 more"},
		{are([]string{"n1"}), "n1 is"},
		{are([]string{"n1", "n2"}), "n1 and n2 are"},
		{have([]string{"n1", "n2"}), "n1 and n2 have"},
		{count(1, "copy"), "1 copy"},
		{count(2, "copy"), "2 copies"},
		{count(2, "zone"), "2 zones"},
		{none(0, "zone"), "no zone"},
		{none(1, "zone"), "1 zone"},
	} {
		if tc.got != tc.want {
			t.Errorf("%q, want %q", tc.got, tc.want)
		}
	}
}
