package main

import (
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// versionDoc is the JSON of version.
type versionDoc struct {
	Version  string `json:"version"`
	Revision string `json:"revision,omitempty"`
	Time     string `json:"time,omitempty"`
	Modified bool   `json:"modified"`
	Go       string `json:"go"`
	OS       string `json:"os"`
	Arch     string `json:"arch"`
}

func newVersionCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Show the version of this program",
		Example: `  starling version
  starling version -o json`,
		Args: exactly(),
		RunE: func(*cobra.Command, []string) error {
			doc := readVersion()
			if a.output == outputJSON {
				return a.printJSON(doc)
			}
			revision := ""
			if doc.Revision != "" {
				revision = " (" + doc.Revision + ", " + doc.Time
				if doc.Modified {
					revision += ", modified"
				}
				revision += ")"
			}
			return a.printLine(plain, "starling %s%s %s %s/%s", doc.Version, revision, doc.Go, doc.OS, doc.Arch)
		},
	}
}

// version is the release as nodes tell it.
func version() string { return readVersion().Version }

// readVersion takes what the go command noted in the binary.
func readVersion() versionDoc {
	d := versionDoc{Version: "unknown", Go: runtime.Version(), OS: runtime.GOOS, Arch: runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return d
	}
	if info.Main.Version != "" {
		d.Version = info.Main.Version
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			d.Revision = s.Value
		case "vcs.time":
			d.Time = s.Value
		case "vcs.modified":
			d.Modified = s.Value == "true"
		}
	}
	return d
}
