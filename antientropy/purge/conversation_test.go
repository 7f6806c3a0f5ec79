package purge

import (
	"bufio"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"starling/ring"
	"starling/store/object"
	"starling/store/version"
)

// talk is one conversation of testdata/rounds.txt: what the round was told, and
// what it wanted then.
type talk struct {
	t     *testing.T
	view  View
	opts  Options
	owner map[uint32]ring.Placement
	round *Round
	step  Step
}

func newTalk(t *testing.T) *talk {
	k := &talk{t: t, owner: map[uint32]ring.Placement{}}
	k.view.Place = func(p uint32) (ring.Placement, bool) {
		pl, ok := k.owner[p]
		pl.Stamp = k.view.Fence*100 + uint64(p)
		return pl, ok
	}
	return k
}

// node is named by a letter.
func node(letter string) ring.NodeID { return ring.NodeID{letter[0]} }

func nodes(letters []string) (ids []ring.NodeID) {
	for _, l := range letters {
		ids = append(ids, node(l))
	}
	return ids
}

// ref reads partition/key.
func (k *talk) ref(s string) object.Ref {
	p, key, ok := strings.Cut(s, "/")
	if !ok {
		k.t.Fatalf("no key: %q", s)
	}
	return object.Ref{Partition: uint32(k.number(p)), Bucket: "b", Key: key}
}

func (k *talk) number(s string) uint64 {
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		k.t.Fatal(err)
	}
	return n
}

// candidate reads partition/key:hash for a delete, with :prune behind it for a
// vector to prune, of actors 1, 2 and 3.
func (k *talk) candidate(s string) Candidate {
	parts := strings.Split(s, ":")
	c := Candidate{Ref: k.ref(parts[0]), Hash: k.number(parts[1]), Reap: Delete}
	c.Vector = version.Vector{{Actor: 1, Seq: c.Hash}}
	if len(parts) > 2 {
		c.Reap, c.Vector = Prune, version.Vector{{Actor: 1, Seq: 7}, {Actor: 2, Seq: 8}, {Actor: 3, Seq: 9}}
	}
	return c
}

// say carries out one command.
func (k *talk) say(words []string) string {
	switch rest := words[1:]; words[0] {
	case "members":
		k.view.Members = nodes(rest)
	case "fence":
		k.view.Fence = k.number(rest[0])
	case "owners", "pending", "displaced":
		p := uint32(k.number(rest[0]))
		pl := k.owner[p]
		switch ids := nodes(rest[1:]); words[0] {
		case "owners":
			pl.Owners = ids
		case "pending":
			pl.Pending = ids
		default:
			pl.Displaced = ids
		}
		k.owner[p] = pl
	case "most":
		k.opts.MaxKeys = int(k.number(rest[0]))
	case "bytes":
		k.opts.MaxBytes = int(k.number(rest[0]))
	case "after":
		k.opts.After = k.ref(rest[0])
	case "begin":
		k.round, k.step = New(k.view, k.opts), Done
	default:
		k.tell(words[0], rest)
	}
	return k.wants()
}

// tell reports something to the round.
func (k *talk) tell(what string, rest []string) {
	r := k.round
	switch what {
	case "list":
		var p Page
		for _, w := range rest[1:] {
			if w == "more" {
				p.More = true
			} else {
				p.Candidates = append(p.Candidates, k.candidate(w))
			}
		}
		r.Listed(node(rest[0]), p)
	case "verify", "prove":
		s := Verifying
		if what == "prove" {
			s = Proving
		}
		r.Verified(s, node(rest[0]), k.verification(rest[1:]))
	case "raise":
		r.Raised(k.view)
	case "raise-failed":
		r.NotRaised([]Blocker{{node(rest[0]), strings.Join(rest[1:], " ")}})
	case "clear":
		r.Purged(Clearing, node(rest[0]), int(k.number(rest[1])))
	case "purge":
		r.Purged(Purging, node(rest[0]), int(k.number(rest[1])))
	case "fail":
		r.Failed(r.Step(), node(rest[0]), strings.Join(rest[1:], " "))
	default:
		k.t.Fatalf("no command %q", what)
	}
}

// verification reads a state for each key, then pairs of boot, writes, fence,
// actors.
func (k *talk) verification(words []string) Verification {
	v := Verification{Fence: k.view.Fence, Boot: 1}
	states := map[string]State{"refused": Refused, "differs": Differs, "hinted": Hinted, "agreed": Agreed}
	writes := uint64(0)
	for i := 0; i < len(words); i++ {
		if s, ok := states[words[i]]; ok {
			v.States = append(v.States, s)
			continue
		}
		i++
		switch words[i-1] {
		case "boot":
			v.Boot = k.number(words[i])
		case "writes":
			writes = k.number(words[i])
		case "fence":
			v.Fence = k.number(words[i])
		case "actors":
			for _, a := range strings.Split(words[i], ",") {
				v.Actors = append(v.Actors, version.Actor(k.number(a)))
			}
		default:
			k.t.Fatalf("no answer %q", words[i-1])
		}
	}
	for range v.States {
		v.HintWrites = append(v.HintWrites, writes)
	}
	return v
}

var stepNames = [...]string{"list", "verify", "raise", "prove", "clear", "purge", "done"}

// wants is what the round asks for, when that is new.
func (k *talk) wants() string {
	if k.round == nil || k.round.Step() == k.step {
		return ""
	}
	k.step = k.round.Step()
	if k.step == Done {
		return "done" + describe(k.round.Result())
	}
	var out []string
	for _, a := range k.round.Asks() {
		out = append(out, k.describeAsk(a))
	}
	return stepNames[k.step] + strings.Join(slices.Compact(out), ";")
}

func (k *talk) describeAsk(a Ask) string {
	s := ""
	if k.step >= Clearing {
		s += " " + string(a.To[0])
	}
	if k.step == Listing {
		return fmt.Sprintf(" %d each", a.Max)
	}
	for _, key := range a.Keys {
		s += fmt.Sprintf(" %d/%s@%d", key.Ref.Partition, key.Ref.Key, key.Stamp)
		if k.step >= Clearing && key.Reap == Prune {
			s += fmt.Sprintf("%v", actorsOf(key.Vector))
		}
	}
	return s
}

func actorsOf(v version.Vector) (actors []int) {
	for _, d := range v {
		actors = append(actors, int(d.Actor))
	}
	return actors
}

func describe(r Result) string {
	s := fmt.Sprintf(" %d purged %d pruned of %d", r.Purged, r.Pruned, r.Candidates)
	if r.Next != (object.Ref{}) {
		s += fmt.Sprintf(" next %d/%s", r.Next.Partition, r.Next.Key)
	}
	for _, b := range r.Blockers {
		s += fmt.Sprintf("; %c %s", b.Node[0], b.Reason)
	}
	return s
}

func TestConversations(t *testing.T) {
	f, err := os.Open("testdata/rounds.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	k, title := newTalk(t), ""
	scan := bufio.NewScanner(f)
	for number := 1; scan.Scan(); number++ {
		line := strings.TrimSpace(scan.Text())
		if name, ok := strings.CutPrefix(line, "== "); ok {
			k, title = newTalk(t), name
		}
		if line == "" || line[0] == '#' || line[0] == '=' {
			continue
		}
		command, want, _ := strings.Cut(line, "->")
		if got := k.say(strings.Fields(command)); got != strings.TrimSpace(want) {
			t.Errorf("line %d (%s): %s: got %q", number, title, line, got)
		}
	}
	if err := scan.Err(); err != nil || title == "" {
		t.Fatalf("read to %q, error %v", title, err)
	}
}
