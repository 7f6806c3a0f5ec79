// Command render writes what package monitoring renders into the repository. It
// is run in its top directory: go run ./cmd/internal/monitoring/render
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"starling/cmd/internal/monitoring"
)

func main() {
	if err := write(); err != nil {
		fmt.Fprintln(os.Stderr, "render:", err)
		os.Exit(1)
	}
}

func write() error {
	if _, err := os.Stat("go.mod"); err != nil {
		return fmt.Errorf("run it at the top of the repository: %w", err)
	}
	files, err := monitoring.Files()
	if err != nil {
		return err
	}
	for name, text := range files {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(name, text, 0o644); err != nil {
			return err
		}
	}
	return nil
}
