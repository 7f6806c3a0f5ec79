package monitoring

import (
	"bytes"
	"fmt"
	"strings"
	"time"
)

// Files renders all that is in the repository, by path below its root.
func Files() (map[string][]byte, error) {
	files := map[string][]byte{
		"docs/metrics.md":                                             reference(),
		"docs/runbooks/README.md":                                     runbookIndex(),
		"deploy/monitoring/prometheus.yml":                            []byte(prometheusYAML),
		"deploy/monitoring/nodes.example.yml":                         []byte(nodesExample),
		"deploy/monitoring/rules.yml":                                 Rules(DefaultTiming()),
		"deploy/monitoring/rules_test.yml":                            RuleTests("rules.yml", Alerts()),
		"deploy/monitoring/grafana/provisioning/datasources/main.yml": []byte(grafanaDatasource),
		"deploy/monitoring/grafana/provisioning/dashboards/main.yml":  []byte(grafanaProvider),
		"deploy/monitoring/README.md":                                 []byte(readme()),
	}
	for _, a := range Alerts() {
		files[a.Runbook()] = a.page()
	}
	for _, d := range Dashboards() {
		text, err := d.JSON()
		if err != nil {
			return nil, fmt.Errorf("monitoring: dashboard %s: %w", d.UID, err)
		}
		files["deploy/monitoring/grafana/dashboards/"+d.UID+".json"] = text
	}
	return files, nil
}

const rendered = "Rendered by \"make monitoring\" from cmd/internal/monitoring: change it there."

// Rules renders the file of recording and alerting rules.
func Rules(t Timing) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "# %s\ngroups:\n", rendered)
	fmt.Fprintf(&b, "  - name: starling-records\n    interval: %s\n    rules:\n", seconds(t.Evaluate))
	for _, r := range Records() {
		fmt.Fprintf(&b, "      - record: %s\n        expr: %s\n", r.Name, block(r.Expr, 10))
	}
	fmt.Fprintf(&b, "  - name: starling-alerts\n    interval: %s\n    rules:\n", seconds(t.Evaluate))
	for _, a := range Alerts() {
		wait := a.For
		if t.For > 0 {
			wait = t.For
		}
		fmt.Fprintf(&b, "      - alert: %s\n        expr: %s\n        for: %s\n", a.Name, block(a.Expr, 10), seconds(wait))
		fmt.Fprintf(&b, "        labels:\n          severity: %s\n        annotations:\n", a.Severity)
		fmt.Fprintf(&b, "          summary: %s\n          description: %s\n          action: %s\n          runbook_url: %s\n",
			quote(a.Summary), quote(a.Means), quote(a.firstStep()), a.Runbook())
	}
	return b.Bytes()
}

// RuleTests renders what promtool checks: for each of the alerts a case in which
// it fires and one in which it does not. rules is the path of the rules from the
// file.
func RuleTests(rules string, alerts []Alert) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "# %s\nrule_files:\n  - %s\nevaluation_interval: 1m\ntests:\n", rendered, rules)
	for _, a := range alerts {
		for what, c := range [...]Case{a.Fires, a.Silent} {
			fmt.Fprintf(&b, "  - name: %s %s\n    interval: 1m\n    input_series:\n", a.Name, [...]string{"fires", "is silent"}[what])
			for i := 0; i < len(c.Series); i += 2 {
				fmt.Fprintf(&b, "      - series: %s\n        values: %s\n", single(c.Series[i]), single(c.Series[i+1]))
			}
			fmt.Fprintf(&b, "    alert_rule_test:\n      - eval_time: %s\n        alertname: %s\n", seconds(c.At), a.Name)
			if what == 1 {
				fmt.Fprintf(&b, "        exp_alerts: []\n")
				continue
			}
			fmt.Fprintf(&b, "        exp_alerts:\n          - exp_labels:\n              severity: %s\n", a.Severity)
			for _, name := range sortedKeys(c.Labels) {
				fmt.Fprintf(&b, "              %s: %s\n", name, c.Labels[name])
			}
			fmt.Fprintf(&b, "            exp_annotations:\n              summary: %s\n              description: %s\n              action: %s\n              runbook_url: %s\n",
				quote(a.summaryOf(c.Labels)), quote(a.Means), quote(a.firstStep()), a.Runbook())
		}
	}
	return b.Bytes()
}

// firstStep is the first thing to do, in one line and without links.
func (a Alert) firstStep() string { return plain(a.Do[0]) }

// seconds is a duration as Prometheus reads it.
func seconds(d time.Duration) string {
	switch {
	case d >= time.Minute && d%time.Minute == 0:
		return fmt.Sprintf("%dm", d/time.Minute)
	case d%time.Second == 0:
		return fmt.Sprintf("%ds", d/time.Second)
	default:
		return fmt.Sprintf("%dms", d/time.Millisecond)
	}
}

// block is a text of one or more lines as a YAML block.
func block(text string, indent int) string {
	pad := "\n" + strings.Repeat(" ", indent)
	return "|-" + pad + strings.ReplaceAll(text, "\n", pad)
}

// quote and single are a text as a YAML string in quotes.
func quote(text string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(text) + `"`
}

func single(text string) string { return "'" + strings.ReplaceAll(text, "'", "''") + "'" }
