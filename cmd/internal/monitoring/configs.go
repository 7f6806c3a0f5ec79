package monitoring

import (
	"bytes"
	"fmt"
)

const prometheusYAML = `# Rendered by "make monitoring" from cmd/internal/monitoring: change it there.
#
# Scrapes the nodes that nodes.yml beside this file lists, and reads the rules.
# Start from nodes.example.yml. Prometheus sees changes of it by itself.
# The label instance is what alerts and panels call a node: the name that the
# node has in its cluster reads best. The label cluster tells clusters apart.
global:
  scrape_interval: 15s
  evaluation_interval: 15s
rule_files:
  - rules.yml
scrape_configs:
  - job_name: starling
    metrics_path: /metrics
    file_sd_configs:
      - files:
          - nodes.yml
# To be told of alerts:
# alerting:
#   alertmanagers:
#     - static_configs:
#         - targets: ["127.0.0.1:9093"]
`

const nodesExample = `# Rendered by "make monitoring" from cmd/internal/monitoring: change it there.
#
# The nodes of a cluster: copy this file to nodes.yml and write yours. The
# addresses are those of "http" in the nodes' settings.
- targets: ["db1.internal:4700"]
  labels: {cluster: main, instance: n1}
- targets: ["db2.internal:4700"]
  labels: {cluster: main, instance: n2}
- targets: ["db3.internal:4700"]
  labels: {cluster: main, instance: n3}
`

const grafanaDatasource = `# Rendered by "make monitoring" from cmd/internal/monitoring: change it there.
apiVersion: 1
datasources:
  - name: Prometheus
    type: prometheus
    access: proxy
    url: http://127.0.0.1:9090
    isDefault: true
    jsonData:
      timeInterval: 15s
`

const grafanaProvider = `# Rendered by "make monitoring" from cmd/internal/monitoring: change it there.
apiVersion: 1
providers:
  - name: Starling
    folder: Starling
    type: file
    allowUiUpdates: false
    options:
      # Where the folder grafana/dashboards lies on the machine of Grafana.
      path: /var/lib/grafana/dashboards/starling
`

// Config renders a configuration of Prometheus for fixed nodes, by name, and the
// rules in a file.
func Config(t Timing, rules, cluster string, nodes map[string]string) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "global:\n  scrape_interval: %s\n  evaluation_interval: %s\nrule_files:\n  - %s\nscrape_configs:\n  - job_name: starling\n    static_configs:\n",
		seconds(t.Scrape), seconds(t.Evaluate), rules)
	for _, name := range sortedKeys(nodes) {
		fmt.Fprintf(&b, "      - targets: [%s]\n        labels: {cluster: %s, instance: %s}\n", quote(nodes[name]), cluster, name)
	}
	return b.Bytes()
}
