package health

import (
	"bufio"
	"os"
	"strings"
	"testing"
	"time"
)

// epoch is when the tests begin.
var epoch = time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)

var outcomes = map[string]Outcome{"ok": OK, "busy": Busy, "unreachable": Unreachable, "lost": Lost, "expired": Expired}

// talk is one conversation of testdata/breaker.txt.
type talk struct {
	peer   *Peer
	began  map[string]time.Time
	probed time.Time
}

func newTalk() *talk { return &talk{peer: New(Config{}), began: map[string]time.Time{}} }

// say carries out one command and returns the answer, "" if it has none.
func (k *talk) say(t *testing.T, now time.Time, words []string) string {
	t.Helper()
	has := func(word string) bool { return words[len(words)-1] == word }
	switch words[0] {
	case "begin":
		k.began[words[1]] = now
		k.peer.Begin(now)
		return ""
	case "end":
		o, ok := outcomes[words[2]]
		if !ok {
			t.Fatalf("no outcome %q", words[2])
		}
		k.peer.End(now, Read, now.Sub(k.began[words[1]]), o)
	case "probed":
		k.peer.Probed(now, now.Sub(k.probed), has("ok"))
	case "usable":
		return choose(k.peer.Usable(now, !has("dead")), "yes", "no")
	case "probe":
		due := k.peer.ProbeDue(now, !has("dead"))
		if due {
			k.probed = now
		}
		return choose(due, "due", "no")
	default:
		t.Fatalf("no command %q", words[0])
	}
	return k.peer.Snapshot(now).Breaker.String()
}

func choose(c bool, yes, no string) string {
	if c {
		return yes
	}
	return no
}

func TestBreakerConversations(t *testing.T) {
	f, err := os.Open("testdata/breaker.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	k, title := newTalk(), ""
	scan := bufio.NewScanner(f)
	for number := 1; scan.Scan(); number++ {
		line := strings.TrimSpace(scan.Text())
		if name, ok := strings.CutPrefix(line, "== "); ok {
			k, title = newTalk(), name
		}
		if line == "" || line[0] == '#' || line[0] == '=' {
			continue
		}
		command, want, _ := strings.Cut(line, "->")
		words := strings.Fields(command)
		at, err := time.ParseDuration(words[0])
		if err != nil {
			t.Fatalf("line %d: %v", number, err)
		}
		if got := k.say(t, epoch.Add(at), words[1:]); got != strings.TrimSpace(want) {
			t.Errorf("line %d (%s): %s: got %q", number, title, line, got)
		}
	}
	if err := scan.Err(); err != nil || title == "" {
		t.Fatalf("read to %q, error %v", title, err)
	}
}
