package config

import (
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
)

var update = flag.Bool("update", false, "rewrite golden files and the generated part of docs/configuration.md")

// host is a machine with a name and these addresses, in CIDR form.
func host(name string, cidrs ...string) machine {
	return machine{
		hostname: func() (string, error) { return name, nil },
		addrs: func() ([]net.Addr, error) {
			var out []net.Addr
			for _, c := range cidrs {
				ip, network, err := net.ParseCIDR(c)
				if err != nil {
					return nil, err
				}
				network.IP = ip
				out = append(out, network)
			}
			return out, nil
		},
	}
}

func flags(t *testing.T, args ...string) *pflag.FlagSet {
	t.Helper()
	fs := pflag.NewFlagSet("serve", pflag.ContinueOnError)
	Register(fs)
	if err := fs.Parse(args); err != nil {
		t.Fatalf("parse %q: %v", args, err)
	}
	return fs
}

func file(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func mustLoad(t *testing.T, fs *pflag.FlagSet, environ ...string) Config {
	t.Helper()
	c, err := load(fs, environ, host("starling-1"))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// problems are what a load must fail with.
func problems(t *testing.T, fs *pflag.FlagSet, environ ...string) Problems {
	t.Helper()
	_, err := load(fs, environ, host("starling-1"))
	var p Problems
	if !errors.As(err, &p) {
		t.Fatalf("load: got error %v, want Problems", err)
	}
	return p
}

func TestDefaults(t *testing.T) {
	c := mustLoad(t, nil)
	if c.Name != "starling-1" || c.DataDir != "./starling-data" || c.HTTP != "127.0.0.1:4700" || c.AdvertiseRPC != "127.0.0.1:4701" ||
		c.Replicas != 3 || c.Partitions != 1024 || c.Durability != "sync" || c.MaxValueBytes != 1<<20 || c.MaxSiblings != 100 ||
		c.Weight != 100 || c.TombstonesMinAge != time.Hour || c.LogLevel != slog.LevelInfo || !c.ReadRepairEnabled || len(c.Join) != 0 {
		t.Errorf("defaults: %+v", c)
	}
	for _, f := range fields {
		if c.IsSet(f.name) {
			t.Errorf("%s is set, though nothing was given", f.name)
		}
	}
}

func TestPrecedence(t *testing.T) {
	yaml := file(t, "s.yaml", "replicas: 2\nzone: file\nweight: 20\njoin: [a:1, b:2]\nread_repair_enabled: false\n")
	toml := file(t, "s.toml", "replicas = 2\nzone = \"file\"\nweight = 20\njoin = [\"a:1\", \"b:2\"]\nread_repair_enabled = false\n")
	for _, path := range []string{yaml, toml} {
		fs := flags(t, "--config", path, "--zone=flag")
		c := mustLoad(t, fs, "STARLING_ZONE=env", "STARLING_WEIGHT=30", "STARLING_REPLICAS=", "STARLING_CONFIG=/nowhere.yaml", "HOME=/root")
		want := map[string]Setting{
			"zone":                {Value: "flag", Source: "flag --zone"},
			"weight":              {Value: "30", Source: "env STARLING_WEIGHT"},
			"replicas":            {Value: "2", Source: "file " + path}, // an empty variable gives nothing
			"join":                {Value: "a:1,b:2", Source: "file " + path},
			"read_repair_enabled": {Value: "false", Source: "file " + path},
			"partitions":          {Value: "1024", Source: "default"},
		}
		for _, s := range c.Settings() {
			if w, ok := want[s.Name]; ok && (s.Value != w.Value || s.Source != w.Source) {
				t.Errorf("%s: %s = %q from %q, want %q from %q", path, s.Name, s.Value, s.Source, w.Value, w.Source)
			}
		}
		if !c.IsSet("replicas") || c.IsSet("partitions") {
			t.Error("IsSet: replicas must be, partitions must not")
		}
		if c.Zone != "flag" || c.Weight != 30 || c.Replicas != 2 || !slices.Equal(c.Join, []string{"a:1", "b:2"}) || c.ReadRepairEnabled {
			t.Errorf("%s: %+v", path, c)
		}
	}
}

func TestFileNamedByVariable(t *testing.T) {
	path := file(t, "s.yml", "zone: east\n")
	if c := mustLoad(t, flags(t), "STARLING_CONFIG="+path); c.Zone != "east" {
		t.Errorf("zone is %q, want east", c.Zone)
	}
}

func TestFlagForms(t *testing.T) {
	c := mustLoad(t, flags(t, "--join", "a:1", "--join=b:2,c:3", "--read-repair-enabled=false", "--hints-enabled", "--zone", ""), "STARLING_ZONE=env", "STARLING_JOIN=z:9")
	if got := strings.Join(c.Join, " "); got != "a:1 b:2 c:3" {
		t.Errorf("join is %q", got)
	}
	if c.ReadRepairEnabled || !c.HintsEnabled || c.Zone != "" {
		t.Errorf("got %+v", c)
	}
}

func TestUnknownNamesTheNearest(t *testing.T) {
	path := file(t, "s.yaml", "data_dri: /x\nhints:\n  max_bytes: 1\nZone: a\nempty: {}\n")
	got := problems(t, flags(t, "--config", path), "STARLING_REPLICSA=3", "STARLING_ENDPOINT=x", "STARLING_HOME=y", "STARLING_PORT_BASE=1")
	want := map[string]string{
		"STARLING_REPLICSA": "STARLING_REPLICAS",
		"data_dri":          "data_dir",
		"hints.max_bytes":   "hints_max_bytes",
		"Zone":              "zone",
		"empty":             "http",
	}
	if len(got) != len(want) {
		t.Errorf("got %d problems, want %d: %v", len(got), len(want), got)
	}
	for _, p := range got {
		if want[p.Setting] != p.Nearest {
			t.Errorf("%s: nearest is %q, want %q", p.Setting, p.Nearest, want[p.Setting])
		}
		if !strings.Contains(p.String(), p.Nearest) || !strings.Contains(p.String(), p.Source) {
			t.Errorf("%q does not name the nearest name and the source", p)
		}
	}
}

func TestAllProblemsAtOnce(t *testing.T) {
	path := file(t, "s.yaml", "partitions: 1000\nwieght: 3\nmax_value_bytes: 5MiB\n")
	err := func() error {
		_, err := load(flags(t, "--config", path, "--http", "nonsense", "--default-timeout=2m"),
			[]string{"STARLING_DURABILITY=always", "STARLING_REPLICAS=9", "STARLING_JOIN=a:1,b", "STARLING_NOPE=1"}, host("bad host"))
		return err
	}()
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{
		`http = "nonsense" (flag --http): want host:port, for example 127.0.0.1:4700`,
		`partitions = "1000" (file ` + path + `): want a power of two from 1 to 65536`,
		`max_value_bytes = "5MiB" (file ` + path + `): want 1 to 4MiB, as bytes or with a unit such as KiB or MB`,
		`durability = "always" (env STARLING_DURABILITY): want sync, interval or none`,
		`replicas = "9" (env STARLING_REPLICAS): want 1 to 7`,
		`join = "a:1,b" (env STARLING_JOIN): want at most 64 of host:port, separated by commas`,
		`wieght (file ` + path + `): no such setting; the nearest is weight`,
		`STARLING_NOPE (env STARLING_NOPE): no such setting; the nearest is STARLING_`,
		`name = "bad host" (default): want a name, because`,
		`default_timeout = "2m" (flag --default-timeout): want at most max_timeout, which is 1m`,
		`config: 10 problems:`,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("missing %q in\n%v", want, err)
		}
	}
}

func TestBounds(t *testing.T) {
	for _, tc := range []struct {
		name      string
		good, bad []string
	}{
		{"name", []string{"n1", "A.b_c-9", strings.Repeat("x", 64)}, []string{"a b", "ä", "a/b", strings.Repeat("x", 65)}},
		{"http", []string{":4700", "0.0.0.0:1", "[::1]:65535", "db.example:0"}, []string{"4700", "a:b", "a:65536", "::1:80", "a:-1", "a b:1", strings.Repeat("x", 128) + ":1"}},
		{"advertise_http", []string{"10.0.0.1:4700", "db:0"}, []string{":4700", "0.0.0.0:4700", "[::]:4700"}},
		{"join", []string{"a:1", "a:1, b:2", "a:1,"}, []string{"a", "a:0", ":1", "a:1;b:2", strings.Repeat("a:1,", 65)}},
		{"replicas", []string{"1", "7"}, []string{"0", "8", "-1", "three", "3.0", "1e0"}},
		{"partitions", []string{"1", "2", "65536"}, []string{"0", "3", "131072", "-2"}},
		{"weight", []string{"1", "10000"}, []string{"0", "10001", "-1", "4294967297"}},
		{"durability", []string{"sync", "interval", "none"}, []string{"Sync", "fsync"}},
		{"max_value_bytes", []string{"1", "4MiB", "4194304", "1MB", "512 KiB", "9B"}, []string{"0", "4194305", "-1", "1M", "MiB", "1.5MiB", "9223372036854775807KiB", "18014398509481985KiB"}},
		{"free_floor_bytes", []string{"1MiB", "1TiB"}, []string{"0", "-1", "2TiB"}},
		{"hints_max_bytes", []string{"0", "64TiB"}, []string{"-1", "65TiB"}},
		{"hints_bytes_per_second", []string{"64KiB", "1GiB"}, []string{"0", "65535"}},
		{"transfer_bytes_per_second", []string{"64KiB", "64GiB"}, []string{"0", "65535", "65GiB"}},
		{"max_connections", []string{"1", "1048576"}, []string{"0", "1048577"}},
		{"default_timeout", []string{"1ms", "30s"}, []string{"0s", "2", "1h1s", "-1s", "soon"}},
		{"test_clock_offset", []string{"-24h", "87600h", "0s"}, []string{"1", "87601h"}},
		{"log_level", []string{"debug", "error"}, []string{"INFO", "trace"}},
		{"read_repair_enabled", []string{"true", "0"}, []string{"yes", "on"}},
	} {
		env := envPrefix + strings.ToUpper(tc.name) + "="
		for _, v := range tc.good {
			if _, err := load(nil, []string{env + v}, host("h", "10.0.0.7/24")); err != nil {
				t.Errorf("%s = %q: %v", tc.name, v, err)
			}
		}
		for _, v := range tc.bad {
			_, err := load(nil, []string{env + v}, host("h"))
			if err == nil || !strings.Contains(err.Error(), tc.name) || !strings.Contains(err.Error(), fmt.Sprintf("%q", v)) {
				t.Errorf("%s = %q: got error %v, want one that names both", tc.name, v, err)
			}
		}
	}
}

func TestAdvertise(t *testing.T) {
	for _, tc := range []struct {
		listen, want string
		cidrs        []string
	}{
		{"127.0.0.1:4700", "127.0.0.1:4700", nil},
		{"10.1.1.1:0", "10.1.1.1:0", nil},
		{"0.0.0.0:4700", "10.0.0.7:4700", []string{"127.0.0.1/8", "10.0.0.7/24", "10.0.0.8/24"}},
		{":4700", "10.0.0.7:4700", []string{"fe80::1/64", "2001:db8::1/64", "10.0.0.7/24"}},
		{"[::]:4700", "[2001:db8::1]:4700", []string{"::1/128", "fe80::1/64", "169.254.1.1/16", "2001:db8::1/64"}},
	} {
		c, err := load(nil, []string{"STARLING_HTTP=" + tc.listen}, host("h", tc.cidrs...))
		if err != nil || c.AdvertiseHTTP != tc.want {
			t.Errorf("http %s on %v: advertises %q (error %v), want %q", tc.listen, tc.cidrs, c.AdvertiseHTTP, err, tc.want)
		}
	}
	if _, err := load(nil, []string{"STARLING_RPC=:4701"}, host("h", "127.0.0.1/8")); err == nil || !strings.Contains(err.Error(), "advertise_rpc") {
		t.Errorf("no address to advertise: got error %v, want one about advertise_rpc", err)
	}
	c, err := load(nil, []string{"STARLING_RPC=:4701", "STARLING_ADVERTISE_RPC=db:1"}, host("h", "127.0.0.1/8"))
	if err != nil || c.AdvertiseRPC != "db:1" {
		t.Errorf("an address that was given: %q, error %v", c.AdvertiseRPC, err)
	}
}

func TestListenersMustDiffer(t *testing.T) {
	p := problems(t, nil, "STARLING_HTTP=127.0.0.1:9000", "STARLING_GOSSIP=127.0.0.1:9000")
	if len(p) != 1 || p[0].Setting != "gossip" || !strings.Contains(p[0].Want, "http") {
		t.Errorf("got %v, want gossip to need another port than http", p)
	}
	p = problems(t, nil, "STARLING_RPC=0.0.0.0:4700", "STARLING_ADVERTISE_RPC=10.0.0.7:4700")
	if len(p) != 1 || p[0].Setting != "rpc" {
		t.Errorf("got %v, want rpc on every address to collide with http", p)
	}
	mustLoad(t, nil, "STARLING_HTTP=127.0.0.1:0", "STARLING_RPC=127.0.0.1:0", "STARLING_GOSSIP=127.0.0.2:4701")
}

// A node that creates a cluster has nobody to replace.
func TestReplaceNeedsMembers(t *testing.T) {
	p := problems(t, nil, "STARLING_REPLACE=n3")
	if len(p) != 1 || p[0].Setting != "replace" || !strings.Contains(p[0].Want, "join") {
		t.Errorf("got %v, want replace to need join", p)
	}
	if c := mustLoad(t, flags(t, "--replace", "n3", "--join", "a:1")); c.Replace != "n3" {
		t.Errorf("replace is %q", c.Replace)
	}
	if p := problems(t, nil, "STARLING_REPLACE=n 3", "STARLING_JOIN=a:1"); len(p) != 1 || p[0].Setting != "replace" {
		t.Errorf("got %v, want a name or an ID", p)
	}
}

func TestUnusableFiles(t *testing.T) {
	dir := t.TempDir()
	big := file(t, "big.yaml", "# "+strings.Repeat("x", maxFileLen))
	for path, want := range map[string]string{
		filepath.Join(dir, "missing.yaml"):            "no such file",
		file(t, "s.json", "{}"):                       "ends in .yaml, .yml or .toml",
		file(t, "s.yaml", "replicas: 3\n\tx: y"):      "table of settings",
		file(t, "list.yaml", "- replicas\n"):          "table of settings",
		file(t, "twice.toml", "weight=1\nweight=2\n"): "table of settings",
		big: "regular file",
	} {
		p := problems(t, flags(t, "--config", path), "STARLING_WEIGHT=0")
		if len(p) != 2 || p[0].Setting != "config" || p[0].Source != "flag --config" || !strings.Contains(p[0].String(), want) {
			t.Errorf("%s: got %v, want %q and the bad weight", path, p, want)
		}
	}
}

// What Settings shows must load again and show the same.
func TestSettingsRoundTrip(t *testing.T) {
	first := mustLoad(t, nil, "STARLING_DEFAULT_TIMEOUT=1500ms", "STARLING_MAX_TIMEOUT=1h", "STARLING_CACHE_BYTES=3000000", "STARLING_JOIN=a:1,b:2", "STARLING_LOG_LEVEL=warn")
	var environ []string
	for _, s := range first.Settings() {
		environ = append(environ, envPrefix+strings.ToUpper(s.Name)+"="+s.Value)
	}
	second := mustLoad(t, nil, environ...)
	for i, s := range second.Settings() {
		if want := first.Settings()[i]; s.Value != want.Value {
			t.Errorf("%s: %q came back as %q", s.Name, want.Value, s.Value)
		}
	}
}

func TestSettingsGolden(t *testing.T) {
	c := mustLoad(t, flags(t, "--zone=east"), "STARLING_RPC=0.0.0.0:4701", "STARLING_ADVERTISE_RPC=10.0.0.7:4701")
	var b strings.Builder
	for _, s := range c.Settings() {
		fmt.Fprintf(&b, "%s | %s | %s\n", s.Name, s.Value, s.Source)
	}
	golden(t, filepath.Join("testdata", "settings.txt"), b.String())
}

func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs (run with -update to accept):\n%s", path, got)
	}
}

// Register must not refuse or change a value: Load does that.
func TestHelpShowsDefaults(t *testing.T) {
	usage := flags(t).FlagUsages()
	for _, f := range fields {
		if !strings.Contains(usage, "--"+f.flag()) {
			t.Errorf("help lacks --%s", f.flag())
		}
		if d := f.shownDefault(); d != "" && d != "0" && !strings.Contains(usage, "(default "+d+")") {
			t.Errorf("help of --%s lacks its default %s", f.flag(), d)
		}
	}
}
