// Package monitoring is the one source of deploy/monitoring, docs/metrics.md and
// docs/runbooks: what Prometheus records and alerts on, what Grafana shows, and
// what somebody who is called does. [Files] renders all of it; "make monitoring"
// writes it.
//
//  1. What a node exposes is the catalogue: a test of cmd/internal/node compares
//     it with a real node. Every query of this package uses metrics and labels of
//     the catalogue alone: a test parses them. So a metric that changes its name
//     breaks the tests, not a dashboard at night.
//  2. The files in the repository are what [Files] renders.
//  3. Every alert has a severity, a summary, what it means, what to do, and a page
//     of its own; and a case in which it fires and one in which it does not, which
//     promtool runs.
//  4. Every panel says what it shows and in which unit, and counters that only
//     rise are shown as rates.
//  5. With a cluster under load every query gives data, but for those that are
//     declared to be empty while all is well: a test of cmd/internal/e2e asks a
//     real Prometheus.
//
// Severities: critical is for what clients feel or what loses data, and wakes
// somebody; warning is for what the cluster bears, and is for the day.
package monitoring
