package e2e

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// browser is a headless Chromium with one page, driven over a pair of pipes by
// its DevTools protocol: JSON messages that end with a zero byte.
type browser struct {
	t       *testing.T
	to      *os.File
	session string

	mu      sync.Mutex
	last    int
	waiting map[int]chan devtoolsMessage
	// complaints are what the page's console has shown as errors: exceptions,
	// violations of its policy, requests that failed.
	complaints []string
}

// devtoolsMessage is an answer, by its ID, or an event.
type devtoolsMessage struct {
	ID     int             `json:"id"`
	Method string          `json:"method"`
	Params json.RawMessage `json:"params"`
	Result json.RawMessage `json:"result"`
	Error  *struct {
		Message string `json:"message"`
	} `json:"error"`
}

// chromium is the path of a browser; the test is skipped where there is none.
func chromium(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Skip("no chromium is installed here, and the console's tests need one")
	return ""
}

// browse starts a browser, which ends with the test.
func browse(t *testing.T) *browser {
	t.Helper()
	args := []string{"--headless", "--remote-debugging-pipe", "--user-data-dir=" + t.TempDir(), "--no-first-run", "--disable-gpu",
		"--disable-dev-shm-usage", "--disable-background-networking", "--disable-component-update", "--disable-extensions", "--hide-scrollbars"}
	if os.Geteuid() == 0 {
		args = append(args, "--no-sandbox") // which root cannot have
	}
	cmd := exec.Command(chromium(t), args...)
	fromTest, to, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	from, toTest, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.ExtraFiles = []*os.File{fromTest, toTest}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_, _ = fromTest.Close(), toTest.Close()
	b := &browser{t: t, to: to, waiting: make(map[int]chan devtoolsMessage)}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		b.receive(from)
	}()
	t.Cleanup(func() {
		_ = to.Close() // the browser ends when its pipe does
		kill := time.AfterFunc(10*time.Second, func() { _ = cmd.Process.Kill() })
		defer kill.Stop()
		_ = cmd.Wait() // how it ends is nobody's business
		<-ended
		_ = from.Close()
	})
	b.open()
	return b
}

// open makes the page and listens to its console.
func (b *browser) open() {
	b.t.Helper()
	var target struct{ TargetID string }
	b.call("Target.createTarget", map[string]any{"url": "about:blank"}, &target)
	var attached struct{ SessionID string }
	b.call("Target.attachToTarget", map[string]any{"targetId": target.TargetID, "flatten": true}, &attached)
	b.session = attached.SessionID
	for _, domain := range []string{"Page", "Runtime", "Log"} {
		b.call(domain+".enable", nil, nil)
	}
}

// receive takes what the browser sends, until it ends.
func (b *browser) receive(from *os.File) {
	for r := bufio.NewReader(from); ; {
		raw, err := r.ReadBytes(0)
		if err != nil {
			return
		}
		var m devtoolsMessage
		if json.Unmarshal(bytes.TrimSuffix(raw, []byte{0}), &m) != nil {
			continue
		}
		b.mu.Lock()
		if answer := b.waiting[m.ID]; answer != nil {
			delete(b.waiting, m.ID)
			answer <- m
		} else if text := complaint(&m); text != "" {
			b.complaints = append(b.complaints, text)
		}
		b.mu.Unlock()
	}
}

// complaint is the text of an event that tells of an error; else empty.
func complaint(m *devtoolsMessage) string {
	var p struct {
		Type             string
		Args             json.RawMessage
		ExceptionDetails json.RawMessage
		Entry            struct{ Source, Level, Text, URL string }
	}
	if json.Unmarshal(m.Params, &p) != nil {
		return ""
	}
	switch {
	case m.Method == "Runtime.exceptionThrown":
		return string(p.ExceptionDetails)
	case m.Method == "Runtime.consoleAPICalled" && (p.Type == "error" || p.Type == "assert"):
		return string(p.Args)
	case m.Method == "Log.entryAdded" && (p.Entry.Level == "error" || p.Entry.Source == "security"):
		return fmt.Sprintf("%s: %s %s", p.Entry.Source, p.Entry.Text, p.Entry.URL)
	}
	return ""
}

// taken are the complaints so far; from now on there are none.
func (b *browser) taken() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	list := b.complaints
	b.complaints = nil
	return list
}

// wantQuiet wants no complaints but those that have one of the words.
func (b *browser) wantQuiet(but ...string) {
	b.t.Helper()
	for _, text := range b.taken() {
		expected := false
		for _, words := range but {
			expected = expected || strings.Contains(text, words)
		}
		if !expected {
			b.t.Errorf("the page complains: %s", text)
		}
	}
}

// call calls a method of the protocol and decodes its result.
func (b *browser) call(method string, params map[string]any, result any) {
	b.t.Helper()
	answer := make(chan devtoolsMessage, 1)
	b.mu.Lock()
	b.last++
	message := map[string]any{"id": b.last, "method": method, "params": params}
	if params == nil {
		message["params"] = struct{}{}
	}
	if b.session != "" {
		message["sessionId"] = b.session
	}
	b.waiting[b.last] = answer
	b.mu.Unlock()
	raw, err := json.Marshal(message)
	if err == nil {
		_, err = b.to.Write(append(raw, 0))
	}
	if err != nil {
		b.t.Fatalf("%s: %v", method, err)
	}
	select {
	case m := <-answer:
		if m.Error != nil {
			b.t.Fatalf("%s: %s", method, m.Error.Message)
		}
		if result != nil {
			if err := json.Unmarshal(m.Result, result); err != nil {
				b.t.Fatalf("%s: %v in %s", method, err, m.Result)
			}
		}
	case <-time.After(30 * time.Second):
		b.t.Fatalf("%s: the browser does not answer", method)
	}
}

// eval evaluates an expression in the page.
func (b *browser) eval(expression string, result any) {
	b.t.Helper()
	var r struct {
		Result           struct{ Value json.RawMessage }
		ExceptionDetails json.RawMessage
	}
	b.call("Runtime.evaluate", map[string]any{"expression": expression, "returnByValue": true, "awaitPromise": true}, &r)
	if r.ExceptionDetails != nil {
		b.t.Fatalf("%s: %s", expression, r.ExceptionDetails)
	}
	if result == nil {
		return
	}
	if err := json.Unmarshal(r.Result.Value, result); err != nil {
		b.t.Fatalf("%s: %v in %q", expression, err, r.Result.Value)
	}
}

// see waits until an expression is true.
func (b *browser) see(what, expression string) {
	b.t.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		var holds bool
		b.eval("Boolean("+expression+")", &holds)
		if holds {
			return
		}
		if time.Now().After(deadline) {
			var text string
			b.eval("document.body.innerText", &text)
			b.t.Fatalf("gave up waiting to see: %s; the page says\n%s\nand complains %q", what, text, b.taken())
		}
		time.Sleep(50 * time.Millisecond) // the condition is the page's: it can only be asked
	}
}

// text is a condition that an element shows some text; one of a drawing has no
// innerText.
func text(selector, words string) string {
	return fmt.Sprintf("(e => (e?.innerText ?? e?.textContent ?? '').includes(%q))(document.querySelector(%q))", words, selector)
}

// reach is an expression that is true once f was called with an element that
// is shown, enabled, and not covered by another.
func reach(selector, f string) string {
	return fmt.Sprintf(`(() => {
		const e = document.querySelector(%q);
		if (!e || e.disabled || !e.checkVisibility()) return false;
		e.scrollIntoView({block: 'center', behavior: 'instant'});
		const box = e.getBoundingClientRect();
		if (!e.contains(document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2))) return false;
		(%s)(e);
		return true;
	})()`, selector, f)
}

// click clicks an element as soon as a person could.
func (b *browser) click(selector string) {
	b.t.Helper()
	b.see(selector+", to be clicked", reach(selector, "e => e.click()"))
}

// fill types text into a field, in place of what is there.
func (b *browser) fill(selector, text string) {
	b.t.Helper()
	b.see(selector+", to be filled", reach(selector, "e => { e.focus(); e.select(); }"))
	b.call("Input.insertText", map[string]any{"text": text}, nil)
}

// pick chooses an option of a list.
func (b *browser) pick(selector, value string) {
	b.t.Helper()
	b.eval(fmt.Sprintf("(() => { const e = document.querySelector(%q); e.value = %q; e.dispatchEvent(new Event('change', {bubbles: true})); })()", selector, value), nil)
}

// visit loads an address.
func (b *browser) visit(url string) {
	b.t.Helper()
	b.call("Page.navigate", map[string]any{"url": url}, nil)
}

// shots, where CONSOLE_SHOTS names a directory, keeps pictures of the
// page there: light and dark, on a desk and on a phone.
func (b *browser) shots(name string) {
	b.t.Helper()
	dir := os.Getenv("CONSOLE_SHOTS")
	if dir == "" {
		return
	}
	for _, device := range []struct {
		name          string
		width, height int
		phone         bool
	}{{"desk", 1280, 800, false}, {"phone", 390, 844, true}} {
		for _, theme := range []string{"light", "dark"} {
			b.call("Emulation.setDeviceMetricsOverride", map[string]any{"width": device.width, "height": device.height, "deviceScaleFactor": 1, "mobile": device.phone}, nil)
			b.call("Emulation.setEmulatedMedia", map[string]any{"features": []map[string]string{{"name": "prefers-color-scheme", "value": theme}}}, nil)
			b.eval("scrollTo(0, 0)", nil)
			b.eval("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done, 300))))", nil)
			var shot struct{ Data string }
			b.call("Page.captureScreenshot", map[string]any{"captureBeyondViewport": true, "format": "png"}, &shot)
			picture, err := base64.StdEncoding.DecodeString(shot.Data)
			if err == nil {
				err = os.WriteFile(filepath.Join(dir, fmt.Sprintf("%s-%s-%s.png", name, device.name, theme)), picture, 0o644)
			}
			if err != nil {
				b.t.Fatal(err)
			}
		}
	}
	b.call("Emulation.clearDeviceMetricsOverride", nil, nil)
	b.call("Emulation.setEmulatedMedia", map[string]any{"features": []map[string]string{}}, nil)
}
