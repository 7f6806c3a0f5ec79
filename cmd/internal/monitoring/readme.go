package monitoring

import (
	"fmt"
	"strings"
)

func readme() string {
	var list strings.Builder
	for _, d := range Dashboards() {
		fmt.Fprintf(&list, "| [%s](grafana/dashboards/%s.json) | %s |\n", d.Name, d.UID, d.Description)
	}
	return fmt.Sprintf(`<!-- %s -->
# Monitoring

Prometheus 2.42 or newer, and Grafana 10 or newer, without plugins. On this machine, for the local cluster:

`+"```bash"+`
MONITORING=1 deploy/local/cluster.sh up
`+"```"+`

starts Prometheus on it, if it is installed (Debian: prometheus), and prints its address.

## Prometheus

`+"```bash"+`
cd deploy/monitoring
cp nodes.example.yml nodes.yml      # and write your nodes into it
promtool check config prometheus.yml
prometheus --config.file=prometheus.yml
`+"```"+`

[prometheus.yml](prometheus.yml) reads the nodes from nodes.yml and the rules from [rules.yml](rules.yml): %d recording rules and %d
alerts. Every alert bears a severity, a summary, what it means, the first thing to do, and as runbook_url the path of its
[page](../../docs/runbooks/README.md) in this repository. [rules_test.yml](rules_test.yml) has a case in which each fires and one in
which it does not: `+"`promtool test rules rules_test.yml`"+`.

## Grafana

Copy grafana/provisioning to /etc/grafana/provisioning and grafana/dashboards to /var/lib/grafana/dashboards/starling. The
data source is a variable of every dashboard.

| dashboard | what it answers |
|---|---|
%s
Begin with Overview, at the top: it asks whether all is well, what clients notice, and which node it is.

Node, Convergence and Storage go deeper. All metrics: [docs/metrics.md](../../docs/metrics.md).

These files are rendered from cmd/internal/monitoring by `+"`make monitoring`"+`; tests hold them to what a node exposes.
`, rendered, len(Records()), len(Alerts()), list.String())
}
