package monitoring

import (
	"strings"
	"time"
)

// Severities; see the package's doc.
const (
	Critical = "critical"
	Warning  = "warning"
)

// Alert is an alerting rule and its runbook page.
type Alert struct {
	Name, Severity string
	For            time.Duration
	Expr           string
	// Summary is one line; it may use $labels.
	Summary string
	// Means says what is the matter and what clients notice, Do the steps, in
	// their order.
	Means string
	Do    []string
	// Fires and Silent are cases for promtool.
	Fires, Silent Case
}

// Case is a history of series and what follows from it.
type Case struct {
	// Series has pairs of a series and its values, a minute apart, in promtool's
	// notation.
	Series []string
	// At is when the alert is looked for.
	At time.Duration
	// Labels are those of the alert, but for its name and severity.
	Labels map[string]string
}

// Runbook is the page about the alert, a path in the repository.
func (a Alert) Runbook() string { return "docs/runbooks/" + a.Name + ".md" }

// summaryOf is the summary with the labels filled in.
func (a Alert) summaryOf(labels map[string]string) string {
	s := a.Summary
	for name, value := range labels {
		s = strings.ReplaceAll(s, "{{ $labels."+name+" }}", value)
	}
	return s
}

// Alerts are all of them, in the order in which somebody would look: what
// clients feel, nodes, hints, convergence, the ring, the disk, the process.
func Alerts() []Alert {
	var all []Alert
	for _, group := range [][]Alert{requestAlerts(), nodeAlerts(), hintAlerts(), convergenceAlerts(), storageAlerts(), processAlerts()} {
		all = append(all, group...)
	}
	return all
}

// Labels of the cases: two nodes of one cluster.
const (
	n1 = `cluster="c",instance="n1",job="starling"`
	n2 = `cluster="c",instance="n2",job="starling"`
)

// of is a series of a node; more are further labels.
func of(name, node string, more ...string) string {
	return name + "{" + strings.Join(append([]string{node}, more...), ",") + "}"
}

func inCluster(more ...string) map[string]string {
	return labels(append([]string{"cluster", "c"}, more...))
}

func atNode(more ...string) map[string]string {
	return labels(append([]string{"cluster", "c", "instance", "n1"}, more...))
}

// atTarget is for series as they were scraped.
func atTarget(more ...string) map[string]string { return atNode(append(more, "job", "starling")...) }

func labels(pairs []string) map[string]string {
	m := make(map[string]string)
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i]] = pairs[i+1]
	}
	return m
}
