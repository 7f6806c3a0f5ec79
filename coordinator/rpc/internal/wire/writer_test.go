package wire

import (
	"bytes"
	"errors"
	"strings"
	"sync"
	"testing"
)

// gatedSocket holds writes back until it is opened, and keeps what is written.
type gatedSocket struct {
	entered chan struct{} // one for every write that began
	gate    chan struct{}
	mu      sync.Mutex
	bytes   bytes.Buffer
	err     error
}

func newGatedSocket() *gatedSocket {
	return &gatedSocket{entered: make(chan struct{}, 1000), gate: make(chan struct{})}
}

func (s *gatedSocket) Write(p []byte) (int, error) {
	s.entered <- struct{}{}
	<-s.gate
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return 0, s.err
	}
	return s.bytes.Write(p)
}

func newTestWriter(t *testing.T, s *gatedSocket, bound int) (*writer, *sync.WaitGroup) {
	m, err := NewMetrics(nil)
	if err != nil {
		t.Fatal(err)
	}
	wg := &sync.WaitGroup{}
	w := &writer{out: s, bound: bound, metrics: m, wg: wg}
	w.fail = w.close
	return w, wg
}

// bodies are the payloads of the frames that were written.
func (s *gatedSocket) bodies(t *testing.T) []string {
	t.Helper()
	var out []string
	frames(&s.bytes, func(_ header, payload []byte) { out = append(out, string(payload)) })
	if s.bytes.Len() > 0 {
		t.Fatalf("%d bytes left that are no frame", s.bytes.Len())
	}
	return out
}

func TestWriterCoalesces(t *testing.T) {
	s := newGatedSocket()
	w, wg := newTestWriter(t, s, 1<<20)
	want := []string{"first"}
	if _, err := w.send(message("first")); err != nil {
		t.Fatal(err)
	}
	<-s.entered // the flusher is in its first write
	for i := range 40 {
		want = append(want, numbered(i))
		if _, err := w.send(message(numbered(i))); err != nil {
			t.Fatal(err)
		}
	}
	close(s.gate)
	wg.Wait()
	if got := s.bodies(t); strings.Join(got, ",") != strings.Join(want, ",") {
		t.Fatalf("got %q", got)
	}
	if got := w.writes.Load(); got != 2 {
		t.Fatalf("%d writes for 1 and then 40 frames, want 2", got)
	}
	if w.bytes != 0 || w.flushing {
		t.Fatalf("left %d bytes, flushing %v", w.bytes, w.flushing)
	}
}

// Large frames are not copied, in the order in which they were queued.
func TestWriterMixesSizes(t *testing.T) {
	s := newGatedSocket()
	w, wg := newTestWriter(t, s, 64<<20)
	var want []string
	for i, size := range []int{10, gatheredBytes, 2*pieceBytes + 1, 10, 10, scratchBytes - 30, 5, gatheredBytes + 1} {
		want = append(want, strings.Repeat(string(rune('a'+i)), size))
	}
	for _, body := range want {
		if _, err := w.send(message(body)); err != nil {
			t.Fatal(err)
		}
	}
	close(s.gate)
	wg.Wait()
	got := s.bodies(t)
	if len(got) != len(want) {
		t.Fatalf("%d frames, want %d", len(got), len(want))
	}
	for i := range want {
		if got[i] != want[i] {
			t.Fatalf("frame %d has %d bytes, want %d", i, len(got[i]), len(want[i]))
		}
	}
}

func TestWriterBound(t *testing.T) {
	const bound = 10_000
	body := strings.Repeat("x", 1000-HeaderBytes)
	s := newGatedSocket()
	w, wg := newTestWriter(t, s, bound)
	for i := range bound / 1000 {
		if _, err := w.send(message(body)); err != nil {
			t.Fatalf("frame %d: %v", i, err)
		}
	}
	<-s.entered
	if _, err := w.send(message("")); !errors.Is(err, ErrOverloaded) {
		t.Fatalf("beyond the bound, one write being stuck: %v", err)
	}
	if err := w.control(header{kind: kindPing}); err != nil {
		t.Fatalf("a control frame has slack: %v", err)
	}
	n := 0
	for ; w.control(header{kind: kindPing}) == nil; n++ {
		if n > controlSlackBytes {
			t.Fatal("control frames have no bound")
		}
	}
	close(s.gate)
	wg.Wait()
	if _, err := w.send(message(strings.Repeat("x", 2*bound))); err != nil {
		t.Fatalf("an empty queue takes any frame: %v", err)
	}
	wg.Wait()
}

func TestWriterWithdraw(t *testing.T) {
	s := newGatedSocket()
	w, wg := newTestWriter(t, s, 1<<20)
	first, _ := w.send(message("first"))
	<-s.entered
	second, _ := w.send(message("second"))
	third, _ := w.send(message("third"))
	if w.withdraw(first) || !w.handed(first) {
		t.Fatal("took back a frame that is being written")
	}
	if w.handed(second) || !w.withdraw(second) {
		t.Fatal("could not take back a frame that waits")
	}
	if w.handed(third) {
		t.Fatal("a frame that waits passes for handed over")
	}
	close(s.gate)
	wg.Wait()
	if got := strings.Join(s.bodies(t), ","); got != "first,third" {
		t.Fatalf("wrote %s", got)
	}
	if !w.handed(third) || w.withdraw(third) {
		t.Fatal("a frame that was written passes for waiting")
	}
	if w.bytes != 0 {
		t.Fatalf("%d bytes left", w.bytes)
	}
}

func TestWriterFails(t *testing.T) {
	s := newGatedSocket()
	broken := errors.New("broken")
	s.err = broken
	w, wg := newTestWriter(t, s, 1<<20)
	first, _ := w.send(message("first"))
	<-s.entered
	second, _ := w.send(message("second"))
	close(s.gate)
	wg.Wait()
	if _, err := w.send(message("third")); !errors.Is(err, broken) {
		t.Fatalf("got %v", err)
	}
	if !w.handed(first) || w.handed(second) {
		t.Fatal("only the first frame was handed to the socket")
	}
}
