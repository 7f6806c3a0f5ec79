package console

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io/fs"
	"net/http"
	"path"
	"strconv"
	"strings"
)

//go:embed assets
var assets embed.FS

// Prefix is the path below which the files of the console lie; the page itself
// is at /.
const Prefix = "/console/"

const page = "index.html"

// policy is the Content-Security-Policy of every file.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

// types are the media types of the files, by the end of their names.
var types = map[string]string{
	".html": "text/html; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".svg":  "image/svg+xml",
}

// file is one file as it is sent.
type file struct {
	body        []byte
	contentType string
	etag        string
}

var files = mustLoad(assets)

// mustLoad reads all files; that one cannot be read, or has no media type, is
// a defect of the binary.
func mustLoad(from fs.FS) map[string]file {
	all := make(map[string]file)
	err := fs.WalkDir(from, "assets", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		body, err := fs.ReadFile(from, name)
		if err != nil {
			return err
		}
		contentType, ok := types[path.Ext(name)]
		if !ok {
			panic("console: no media type for " + name)
		}
		sum := sha256.Sum256(body)
		all[strings.TrimPrefix(name, "assets/")] = file{body, contentType, `"` + hex.EncodeToString(sum[:8]) + `"`}
		return nil
	})
	if err != nil {
		panic(err)
	}
	return all
}

// Serve answers a GET or HEAD of / or of a file below [Prefix]. It reports
// false, and has written nothing, where there is no such file.
func Serve(w http.ResponseWriter, r *http.Request) bool {
	name := page
	if r.URL.Path != "/" {
		name = strings.TrimPrefix(r.URL.Path, Prefix)
		if name == r.URL.Path || name == page { // the page has one address
			return false
		}
	}
	f, ok := files[name]
	if !ok {
		return false
	}
	h := w.Header()
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "no-cache")
	h.Set("Etag", f.etag)
	if unchanged(r.Header.Values("If-None-Match"), f.etag) {
		w.WriteHeader(http.StatusNotModified)
		return true
	}
	h.Set("Content-Type", f.contentType)
	h.Set("Content-Length", strconv.Itoa(len(f.body)))
	w.WriteHeader(http.StatusOK)
	if r.Method != http.MethodHead {
		_, _ = w.Write(f.body) // a caller who went away cannot be told
	}
	return true
}

// unchanged reports whether an If-None-Match lists etag or is *. The tags of
// the console have no commas.
func unchanged(header []string, etag string) bool {
	for _, line := range header {
		for tag := range strings.SplitSeq(line, ",") {
			if tag = strings.TrimPrefix(strings.TrimSpace(tag), "W/"); tag == etag || tag == "*" {
				return true
			}
		}
	}
	return false
}
