package config

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	"github.com/spf13/viper"

	"starling/config/nearest"
)

const (
	envPrefix  = "STARLING_"
	fileFlag   = "config"
	fileEnv    = "STARLING_CONFIG"
	maxFileLen = 1 << 20
)

// elsewhere are the STARLING_ variables that other parts read: the commands of
// a client, and the scripts of the local cluster.
var elsewhere = []string{fileEnv, "STARLING_ENDPOINT", "STARLING_HOME", "STARLING_PORT_BASE"}

// given is one value as text, and where it came from.
type given struct{ text, source string }

// layer has the values of one source by setting name.
type layer map[string]given

// load is Load on a machine that tests can choose.
func load(fs *pflag.FlagSet, environ []string, m machine) (Config, error) {
	vars := variables(environ)
	env, problems := fromEnv(vars)
	file, more := fromFile(filePath(fs, vars))
	problems = append(problems, more...)

	c := Config{sources: make(map[string]string)}
	problems = append(problems, c.fill([]layer{fromFlags(fs), env, file}, m)...)
	if len(problems) > 0 {
		return Config{}, problems
	}
	return c, nil
}

// fill gives every field the value of the first layer that has one.
func (c *Config) fill(layers []layer, m machine) Problems {
	var problems Problems
	bad := make(map[string]bool)
	for _, f := range fields {
		v := f.pick(layers)
		if v.source != "" {
			c.sources[f.name] = v.source
		} else if f.derived != "" {
			continue // by derive, which may need the other fields
		}
		if !f.set(c, v.text) {
			bad[f.name] = true
			problems = append(problems, Problem{Setting: f.name, Value: v.text, Source: c.source(f.name), Want: f.allowed})
		}
	}
	problems = append(problems, c.derive(m, bad)...)
	return append(problems, c.cross(bad)...)
}

func (f field) pick(layers []layer) given {
	for _, l := range layers {
		if v, ok := l[f.name]; ok {
			return v
		}
	}
	return given{text: f.def}
}

// cross checks the rules between fields, where the fields themselves are good.
func (c *Config) cross(bad map[string]bool) Problems {
	var problems Problems
	if !bad["default_timeout"] && !bad["max_timeout"] && c.DefaultTimeout > c.MaxTimeout {
		problems = append(problems, c.problem("default_timeout", "at most max_timeout, which is "+formatDuration(c.MaxTimeout)))
	}
	if !bad["replace"] && !bad["join"] && c.Replace != "" && len(c.Join) == 0 {
		problems = append(problems, c.problem("replace", "join as well, with members of the cluster whose dead member is replaced"))
	}
	listeners := []struct{ name, addr string }{{"http", c.HTTP}, {"rpc", c.RPC}, {"gossip", c.Gossip}}
	for i, a := range listeners {
		for _, b := range listeners[:i] {
			if !bad[a.name] && !bad[b.name] && collide(a.addr, b.addr) {
				problems = append(problems, c.problem(a.name, "another port than "+b.name+", which has "+b.addr))
			}
		}
	}
	return problems
}

// problem is about a value that was read well but must not be.
func (c *Config) problem(name, want string) Problem {
	i := slices.IndexFunc(fields, func(f field) bool { return f.name == name })
	return Problem{Setting: name, Value: fields[i].get(c), Source: c.source(name), Want: want}
}

// variables are the STARLING_ variables that are not empty. As in a process,
// the last of two with one name counts.
func variables(environ []string) map[string]string {
	out := make(map[string]string)
	for _, kv := range environ {
		name, value, _ := strings.Cut(kv, "=")
		if strings.HasPrefix(name, envPrefix) {
			out[name] = value
		}
	}
	maps.DeleteFunc(out, func(_, value string) bool { return value == "" })
	return out
}

func fromEnv(vars map[string]string) (layer, Problems) {
	known := make(map[string]string, len(fields))
	for _, f := range fields {
		known[f.env()] = f.name
	}
	out := make(layer)
	var problems Problems
	for _, env := range slices.Sorted(maps.Keys(vars)) {
		switch name, ok := known[env]; {
		case ok:
			out[name] = given{vars[env], "env " + env}
		case !slices.Contains(elsewhere, env):
			names := append(slices.Collect(maps.Keys(known)), elsewhere...)
			problems = append(problems, Problem{Setting: env, Source: "env " + env, Nearest: nearest.Name(env, names)})
		}
	}
	return out, problems
}

func fromFlags(fs *pflag.FlagSet) layer {
	out := make(layer)
	if fs == nil {
		return out
	}
	for _, f := range fields {
		if flag := fs.Lookup(f.flag()); flag != nil && flag.Changed {
			out[f.name] = given{flag.Value.String(), "flag --" + f.flag()}
		}
	}
	return out
}

// filePath is the file to read and what named it; "" for none.
func filePath(fs *pflag.FlagSet, vars map[string]string) (path, source string) {
	if fs != nil {
		if flag := fs.Lookup(fileFlag); flag != nil && flag.Changed {
			return flag.Value.String(), "flag --" + fileFlag
		}
	}
	return vars[fileEnv], "env " + fileEnv
}

func fromFile(path, namedBy string) (layer, Problems) {
	if path == "" {
		return nil, nil
	}
	raw, err := decodeFile(path)
	if err != nil {
		return nil, Problems{{Setting: fileFlag, Value: path, Source: namedBy, Want: err.Error()}}
	}
	source := "file " + path
	values := make(map[string]string)
	flatten("", raw, values)

	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = f.name
	}
	out := make(layer)
	var problems Problems
	for _, key := range slices.Sorted(maps.Keys(values)) {
		if slices.Contains(names, key) {
			out[key] = given{values[key], source}
		} else {
			problems = append(problems, Problem{Setting: key, Source: source, Nearest: nearest.Name(key, names)})
		}
	}
	return out, problems
}

// decodeFile reads a YAML or TOML file. Only viper's decoders are used: its
// own layering does not say where a value came from, and drops empty tables
// and the case of keys before an error could name them.
func decodeFile(path string) (map[string]any, error) {
	format := strings.TrimPrefix(strings.ToLower(filepath.Ext(path)), ".")
	if !slices.Contains([]string{"yaml", "yml", "toml"}, format) {
		return nil, fmt.Errorf("a file that ends in .yaml, .yml or .toml")
	}
	b, err := readBounded(path)
	if err != nil {
		return nil, fmt.Errorf("a file that can be read: %w", err)
	}
	decoder, err := viper.NewCodecRegistry().Decoder(format)
	if err != nil {
		return nil, err
	}
	raw := make(map[string]any)
	if err := decoder.Decode(b, raw); err != nil {
		return nil, fmt.Errorf("a table of settings: %w", err)
	}
	return raw, nil
}

func readBounded(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxFileLen {
		return nil, fmt.Errorf("%s is not a regular file of at most %s", path, formatSize(maxFileLen))
	}
	return os.ReadFile(path)
}

// flatten writes the leaves of a decoded file as text. There are no nested
// settings: a nested key gets a dotted name that is unknown.
func flatten(prefix string, raw map[string]any, out map[string]string) {
	for key, v := range raw {
		if sub, ok := v.(map[string]any); ok && len(sub) > 0 {
			flatten(prefix+key+".", sub, out)
			continue
		}
		out[prefix+key] = asText(v)
	}
}

func asText(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case []any:
		parts := make([]string, len(v))
		for i := range v {
			parts[i] = asText(v[i])
		}
		return strings.Join(parts, ",")
	default:
		return fmt.Sprint(v)
	}
}
