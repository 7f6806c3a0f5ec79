package console

import (
	"net/http"
	"net/http/httptest"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

func get(t *testing.T, target string, header ...string) *http.Response {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, target, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	if !Serve(w, r) {
		t.Fatalf("%s is not served", target)
	}
	return w.Result()
}

// addresses are where the files are served.
func addresses() (all []string) {
	for name := range files {
		if name == page {
			all = append(all, "/")
		} else {
			all = append(all, Prefix+name)
		}
	}
	slices.Sort(all)
	return all
}

// TestHeaders: every file has its type, the policy, and is asked for again.
func TestHeaders(t *testing.T) {
	all := addresses()
	if len(all) < 10 {
		t.Fatalf("%d files: %q", len(all), all)
	}
	for _, target := range all {
		resp := get(t, target)
		want := types[path.Ext(target)]
		if target == "/" {
			want = "text/html; charset=utf-8"
		}
		if got := resp.Header.Get("Content-Type"); got != want || want == "" {
			t.Errorf("%s: Content-Type %q, want %q", target, got, want)
		}
		for name, want := range map[string]string{
			"Content-Security-Policy": policy, "X-Content-Type-Options": "nosniff",
			"Referrer-Policy": "no-referrer", "Cache-Control": "no-cache",
		} {
			if got := resp.Header.Get(name); got != want {
				t.Errorf("%s: %s %q, want %q", target, name, got, want)
			}
		}
		if resp.StatusCode != 200 || resp.ContentLength == 0 {
			t.Errorf("%s: status %d with %d bytes", target, resp.StatusCode, resp.ContentLength)
		}
	}
}

// TestPolicy allows nothing but the console's own files, and no inline code.
func TestPolicy(t *testing.T) {
	var directives []string
	for directive := range strings.SplitSeq(policy, ";") {
		directives = append(directives, strings.TrimSpace(directive))
	}
	for _, want := range []string{
		"default-src 'none'", "script-src 'self'", "style-src 'self'", "connect-src 'self'", "img-src 'self' data:",
		"base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'",
	} {
		if !slices.Contains(directives, want) {
			t.Errorf("no directive %q in %q", want, policy)
		}
	}
	for _, bad := range []string{"unsafe", "*", "http"} {
		if strings.Contains(policy, bad) {
			t.Errorf("the policy has %q: %s", bad, policy)
		}
	}
}

// TestUnchanged: who has a file is not sent it again.
func TestUnchanged(t *testing.T) {
	for _, target := range addresses() {
		tag := get(t, target).Header.Get("Etag")
		for _, header := range []string{tag, "W/" + tag, `"other", ` + tag, "*"} {
			resp := get(t, target, "If-None-Match", header)
			if resp.StatusCode != http.StatusNotModified || resp.Header.Get("Content-Security-Policy") != policy {
				t.Errorf("%s with If-None-Match: %s is answered %d", target, header, resp.StatusCode)
			}
		}
		if resp := get(t, target, "If-None-Match", `"other"`); resp.StatusCode != 200 {
			t.Errorf("%s with another tag is answered %d", target, resp.StatusCode)
		}
	}
}

func TestHead(t *testing.T) {
	w := httptest.NewRecorder()
	if !Serve(w, httptest.NewRequest(http.MethodHead, "/", nil)) || w.Code != 200 || w.Body.Len() != 0 || w.Header().Get("Content-Length") == "0" {
		t.Errorf("HEAD: %d, %d bytes, %v", w.Code, w.Body.Len(), w.Header())
	}
}

// TestNotServed: what is no file of the console is left to others, untouched.
func TestNotServed(t *testing.T) {
	for _, target := range []string{"/console", "/console/", "/console/index.html", "/console/none.js", "/console/../app.js", "/app.js", "/x/console/app.js", "/console//app.js"} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.URL.Path = target
		w := httptest.NewRecorder()
		if Serve(w, r) || len(w.Header()) > 0 {
			t.Errorf("%s is served: %d %v", target, w.Code, w.Header())
		}
	}
}

var (
	reference = regexp.MustCompile(`(?:src|href)="([^"#][^"]*)"`)
	imported  = regexp.MustCompile(`(?m)^(?:import|export)[^'"\n]* from ['"]([^'"]+)['"]|^import ['"]([^'"]+)['"]`)
)

// TestReferences: whatever the files refer to is one of them, and every file
// is referred to.
func TestReferences(t *testing.T) {
	seen := map[string]bool{page: true}
	refer := func(from, to string) {
		if _, ok := files[to]; !ok {
			t.Errorf("%s refers to %s, which is not there", from, to)
		}
		seen[to] = true
	}
	for _, m := range reference.FindAllStringSubmatch(string(files[page].body), -1) {
		to, ok := strings.CutPrefix(m[1], strings.TrimPrefix(Prefix, "/"))
		if !ok {
			t.Errorf("the page refers to %s, outside of %s", m[1], Prefix)
			continue
		}
		refer(page, to)
	}
	for name, f := range files {
		if path.Ext(name) != ".js" {
			continue
		}
		for _, m := range imported.FindAllStringSubmatch(string(f.body), -1) {
			to, ok := strings.CutPrefix(m[1]+m[2], "./")
			if !ok {
				t.Errorf("%s imports %s", name, m[1]+m[2])
				continue
			}
			refer(name, to)
		}
	}
	for name := range files {
		if !seen[name] {
			t.Errorf("nothing refers to %s", name)
		}
	}
}

// allowedURL are names of namespaces, which nobody fetches.
var allowedURL = regexp.MustCompile(`http://www\.w3\.org/2000/svg`)

// forbidden is what would break the policy or the rule that data is never
// markup.
var forbidden = map[string]*regexp.Regexp{
	"an address elsewhere":   regexp.MustCompile(`(?i)(https?:)?//[a-z0-9-]+\.[a-z]`),
	"markup of a string":     regexp.MustCompile(`innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|createContextualFragment`),
	"code of a string":       regexp.MustCompile(`\beval\(|new Function|setTimeout\(['"]|javascript:`),
	"an inline style":        regexp.MustCompile(`(?i)<style|\sstyle="|setAttribute\('style'|cssText`),
	"an inline script":       regexp.MustCompile(`(?i)<script(?:[^>]*)>[^<]|<script(?:[^s>]|s[^r])*>|\son[a-z]+="`),
	"an import of a style":   regexp.MustCompile(`@import`),
	"a picture of elsewhere": regexp.MustCompile(`url\((?:[^#]|$)`),
}

// TestNothingForeign: no file has what the policy forbids.
func TestNothingForeign(t *testing.T) {
	for name, f := range files {
		text := allowedURL.ReplaceAllString(string(f.body), "")
		for what, pattern := range forbidden {
			if found := pattern.FindString(text); found != "" {
				t.Errorf("%s has %s: %q", name, what, found)
			}
		}
	}
	for what, text := range map[string]string{
		"an address elsewhere":   `<img src="https://cdn.example.com/x.png">`,
		"markup of a string":     `e.innerHTML = key`,
		"code of a string":       `setTimeout('f()')`,
		"an inline style":        `<p style="color: red">`,
		"an inline script":       `<script>alert(1)</script>`,
		"an import of a style":   `@import "x.css";`,
		"a picture of elsewhere": `background: url(x.png)`,
	} {
		if !forbidden[what].MatchString(text) {
			t.Errorf("%q passes as free of %s", text, what)
		}
	}
}

// TestUnknownType: a file that no browser would be told the type of is found
// when the binary starts, not when it is asked for.
func TestUnknownType(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("a file without a media type was taken")
		}
	}()
	mustLoad(fstest.MapFS{"assets/x.wasm": {Data: []byte("x")}})
}
