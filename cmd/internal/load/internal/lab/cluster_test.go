package lab

import "testing"

func TestMetric(t *testing.T) {
	const text = "# HELP a_total What.\na_total 3\na_total{x=\"1 2\"} 4.5\na_total_more 100\nb{le=\"+Inf\"} 7\n"
	for name, want := range map[string]float64{"a_total": 7.5, "b": 7, "c": 0} {
		if got := Metric(text, name); got != want {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
}
