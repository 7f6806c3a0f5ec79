package monitoring

import (
	"bytes"
	"encoding/json"
	"strings"
)

// Dashboard is one of Grafana's.
type Dashboard struct {
	UID, Name, Description string
	// ByNode: it has a variable that chooses nodes.
	ByNode bool
	Rows   []Row
}

// Row is a question and the panels that answer it.
type Row struct {
	Title  string
	Panels []Panel
}

// Panel shows one thing.
type Panel struct {
	Title, Description string
	// Unit is Grafana's name of it.
	Unit string
	// Kind is timeseries, stat or table.
	Kind string
	// Wide is of 24 columns.
	Wide    int
	Stack   bool
	Queries []Query
	// Steps colour a stat: from a value on.
	Steps []Step
}

// Query is what a panel asks. In Expr, @ stands for the matchers of the
// dashboard's variables, and $r for the interval that fits its width.
type Query struct {
	Expr, Legend string
	// Rare says why there may be no data while all is well; "": there always is
	// under load.
	Rare string
}

// Step is a colour and the value that it begins at.
type Step struct {
	From  float64
	Color string
}

// Panels lists the panels of all rows.
func (d Dashboard) Panels() (all []Panel) {
	for _, r := range d.Rows {
		all = append(all, r.Panels...)
	}
	return all
}

// Full is a query as it stands in the dashboard.
func (d Dashboard) Full(expr string) string {
	matchers := `cluster=~"$cluster"`
	if d.ByNode {
		matchers += `,instance=~"$node"`
	}
	return strings.NewReplacer("@", matchers, "$r", "$__rate_interval").Replace(expr)
}

// Filled is a query for a program that has no variables: of all nodes, over
// windows of the given length.
func (d Dashboard) Filled(expr, window string) string {
	return strings.NewReplacer("$cluster", ".*", "$node", ".*", "$__rate_interval", window, "$__range", window).Replace(d.Full(expr))
}

type object = map[string]any

// JSON is the dashboard as Grafana provisions it.
func (d Dashboard) JSON() ([]byte, error) {
	var panels []object
	id, y := 0, 0
	for _, r := range d.Rows {
		id++
		panels = append(panels, object{"id": id, "type": "row", "title": r.Title, "collapsed": false, "panels": []any{},
			"gridPos": object{"x": 0, "y": y, "w": 24, "h": 1}})
		y++
		x, high := 0, 0
		for _, p := range r.Panels {
			height := 8
			if p.Kind == "stat" {
				height = 4
			}
			if x+p.Wide > 24 {
				x, y, high = 0, y+high, 0
			}
			id++
			panels = append(panels, d.panel(p, id, object{"x": x, "y": y, "w": p.Wide, "h": height}))
			x, high = x+p.Wide, max(high, height)
		}
		y += high
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	err := e.Encode(object{
		"uid": d.UID, "title": "Starling: " + d.Name, "description": d.Description + " " + rendered, "tags": []string{"starling"},
		"schemaVersion": 38, "version": 1, "editable": false, "refresh": "10s", "timezone": "browser", "graphTooltip": 1,
		"time": object{"from": "now-1h", "to": "now"}, "panels": panels, "templating": object{"list": d.variables()},
		"annotations": object{"list": []any{}},
		"links": []object{{"type": "dashboards", "title": "Starling", "tags": []string{"starling"}, "asDropdown": false,
			"includeVars": true, "keepTime": true}},
	})
	return b.Bytes(), err
}

var source = object{"type": "prometheus", "uid": "${datasource}"}

func (d Dashboard) variables() []object {
	list := []object{{"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus", "hide": 0}}
	ask := func(name, label, query string) {
		list = append(list, object{"name": name, "label": label, "type": "query", "datasource": source,
			"query": object{"query": query, "refId": name}, "refresh": 2, "sort": 1,
			"includeAll": true, "multi": true, "allValue": ".*", "current": object{"text": "All", "value": "$__all"}})
	}
	ask("cluster", "Cluster", "label_values(up{job=\"starling\"}, cluster)")
	if d.ByNode {
		ask("node", "Node", "label_values(up{job=\"starling\",cluster=~\"$cluster\"}, instance)")
	}
	return list
}

func (d Dashboard) panel(p Panel, id int, at object) object {
	steps := []object{{"color": "green", "value": nil}}
	if p.Kind != "stat" {
		steps[0]["color"] = "blue"
	}
	for _, s := range p.Steps {
		steps = append(steps, object{"color": s.Color, "value": s.From})
	}
	custom := object{}
	if p.Kind == "timeseries" {
		custom = object{"lineWidth": 1, "fillOpacity": 8, "showPoints": "never", "spanNulls": false}
		if p.Stack {
			custom["stacking"], custom["fillOpacity"] = object{"mode": "normal"}, 40
		}
	}
	var targets []object
	for i, q := range p.Queries {
		t := object{"refId": string(rune('A' + i)), "expr": d.Full(q.Expr), "legendFormat": q.Legend, "datasource": source}
		if p.Kind == "table" || p.Kind == "stat" {
			t["instant"], t["range"] = true, false
		}
		if p.Kind == "table" {
			t["format"] = "table"
		}
		targets = append(targets, t)
	}
	transformations := []object{}
	if p.Kind == "table" {
		transformations = append(transformations, object{"id": "organize", "options": object{"excludeByName": object{"Time": true, "Value": true}}})
	}
	return object{"id": id, "type": p.Kind, "transformations": transformations, "title": p.Title, "description": p.Description, "gridPos": at, "datasource": source,
		"targets": targets, "options": panelOptions(p.Kind),
		"fieldConfig": object{"overrides": []any{}, "defaults": object{"unit": p.Unit, "min": 0, "custom": custom,
			"noValue": "none", "thresholds": object{"mode": "absolute", "steps": steps}}}}
}

func panelOptions(kind string) object {
	switch kind {
	case "stat":
		return object{"colorMode": "background", "graphMode": "none", "textMode": "value_and_name",
			"reduceOptions": object{"calcs": []string{"lastNotNull"}, "fields": "", "values": false}}
	case "table":
		return object{"showHeader": true, "sortBy": []object{{"displayName": "severity", "desc": false}}}
	default:
		return object{"legend": object{"displayMode": "list", "placement": "bottom", "showLegend": true},
			"tooltip": object{"mode": "multi", "sort": "desc"}}
	}
}
