package e2e

import (
	"os"
	"testing"
)

// damage overwrites some bytes in the middle of the largest of the files.
func damage(t *testing.T, files []string) {
	t.Helper()
	largest, size := "", int64(0)
	for _, f := range files {
		info, err := os.Stat(f)
		if err != nil {
			t.Fatal(err)
		}
		if info.Size() > size {
			largest, size = f, info.Size()
		}
	}
	f, err := os.OpenFile(largest, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	if _, err := f.WriteAt(make([]byte, 64), size/3); err != nil {
		t.Fatal(err)
	}
}

func tailOf(log string) string { return string(tail([]byte(log), 3000)) }
