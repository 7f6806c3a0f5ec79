package config

import "github.com/spf13/pflag"

// Register adds a flag for every setting, and --config for the file. The
// flags take any text: [Load] checks it, so that a bad flag is reported beside
// all other problems.
func Register(fs *pflag.FlagSet) {
	for _, f := range fields {
		flag := fs.VarPF(&text{label: f.label, value: f.shownDefault(), repeats: f.repeats}, f.flag(), "", f.about)
		if f.label == boolean().label {
			flag.NoOptDefVal = "true"
		}
	}
	fs.String(fileFlag, "", "File with settings, in YAML or TOML (also "+fileEnv+").")
}

// text is a flag value that is checked later.
type text struct {
	label, value   string
	repeats, given bool
}

func (t *text) Type() string   { return t.label }
func (t *text) String() string { return t.value }

func (t *text) Set(s string) error {
	if t.repeats && t.given {
		s = t.value + "," + s
	}
	t.value, t.given = s, true
	return nil
}
