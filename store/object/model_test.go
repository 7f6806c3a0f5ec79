package object_test

import (
	"bytes"
	"fmt"
	"math/bits"
	"math/rand/v2"
	"slices"
	"strings"

	"starling/store/object"
	"starling/store/version"
)

// The model says what the sibling set ought to be, without dots or vectors:
// an event is a number, and carries the set of events that its writer had
// seen. A replica keeps every event it ever heard of.

// events is a set of the events 0 to 63 of one run.
type events uint64

func one(e int) events                 { return 1 << e }
func (s events) has(e int) bool        { return s&one(e) != 0 }
func (s events) minus(o events) events { return s &^ o }
func (s events) each(yield func(int) bool) {
	for s != 0 {
		e := bits.TrailingZeros64(uint64(s))
		if !yield(e) {
			return
		}
		s = s.minus(one(e))
	}
}

// history is what the writer of each event had seen.
type history []events

// known is what a replica that heard of heard, or a client that saw heard,
// knows to exist.
func (h history) known(heard events) events {
	all := heard
	for e := range heard.each {
		all |= h[e]
	}
	return all
}

// alive is the events in heard that no writer of another one had seen.
func (h history) alive(heard events) events {
	var seen events
	for e := range heard.each {
		seen |= h[e]
	}
	return heard.minus(seen)
}

// client is one client of the run with the contexts it was given, the newest last.
type client struct{ contexts []seen }

// seen is one context, in the code under test and in the models.
type seen struct {
	context version.Context
	model   events
	// strict leaves out what a put's answer tells of superseded events.
	strict events
}

// state is one replica, in the code under test and in the model.
type state struct {
	object object.Object
	heard  events
}

// lowering is an entry of a context that a replica could not take over whole:
// the dots of the actor from seq on were not claimed.
type lowering version.Dot

// run is one schedule of puts, reads and messages.
type run struct {
	rand      *rand.Rand
	replicas  []state
	counters  []uint64
	clients   []client
	inFlight  []state
	model     history
	strict    history
	dots      []version.Dot
	lowerings []lowering
	verbose   bool
	log       []string
}

const (
	maxEvents   = 40
	maxInFlight = 6
	maxContexts = 8
)

func newRun(seed uint64) *run {
	r := &run{rand: rand.New(rand.NewPCG(seed, 0))}
	r.replicas = make([]state, 1+r.rand.IntN(4))
	r.counters = make([]uint64, len(r.replicas))
	r.clients = make([]client, 1+r.rand.IntN(4))
	return r
}

func (r *run) note(line func() string) {
	if r.verbose {
		r.log = append(r.log, line())
	}
}

// playSeed plays the schedule of a seed. One that fails is played once more
// to tell what happened.
func playSeed(seed uint64) (*run, error) {
	r := newRun(seed)
	if r.play() == nil {
		return r, nil
	}
	r = newRun(seed)
	r.verbose = true
	return r, fmt.Errorf("%w\n%s", r.play(), strings.Join(r.log, "\n"))
}

// play makes random steps until there are enough events, and checks the
// replica of each step.
func (r *run) play() error {
	for len(r.dots) < maxEvents {
		i := r.rand.IntN(len(r.replicas))
		var err error
		switch r.rand.IntN(8) {
		case 0, 1, 2:
			err = r.put(i, r.rand.IntN(len(r.clients)))
		case 3:
			r.read(r.rand.IntN(len(r.clients)))
		case 4, 5:
			r.send(i)
		default:
			r.deliver(i)
		}
		if err == nil {
			err = r.check(r.replicas[i])
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// choose is a context for the next put of a client: its newest, an old one,
// two of them together, or none.
func (r *run) choose(c *client) seen {
	n := len(c.contexts)
	if n == 0 || r.rand.IntN(5) == 0 {
		return seen{}
	}
	s := c.contexts[n-1]
	switch r.rand.IntN(6) {
	case 0:
		s = c.contexts[r.rand.IntN(n)]
	case 1:
		o := c.contexts[r.rand.IntN(n)]
		s = seen{s.context.Union(o.context), s.model | o.model, s.strict | o.strict}
	}
	return s
}

func (c *client) learn(s seen) {
	c.contexts = append(c.contexts, s)
	if len(c.contexts) > maxContexts {
		c.contexts = c.contexts[1:]
	}
}

func (r *run) put(i, who int) error {
	c, rep := &r.clients[who], &r.replicas[i]
	s := r.choose(c)
	r.counters[i] += 1 + r.rand.Uint64N(3)
	e, d := len(r.dots), version.Dot{Actor: version.Actor(i + 1), Seq: r.counters[i]}
	r.dots = append(r.dots, d)
	r.model = append(r.model, s.model)
	r.strict = append(r.strict, s.strict)
	r.noteLowerings(s.context, rep.object.Vector)

	o, err := rep.object.Update(s.context, object.Sibling{Dot: d, Value: []byte{byte(e)}}, object.Limits{})
	if err != nil {
		return err
	}
	rep.object, rep.heard = o, rep.heard|one(e)
	others := r.model.alive(rep.heard).minus(one(e))
	answer := seen{
		context: o.Reply(s.context, d),
		model:   s.model | r.model.known(rep.heard).minus(others),
		strict:  s.strict | one(e),
	}
	r.note(func() string {
		return fmt.Sprintf("put %d=%v at %d by %d seen %v: %s, reply %v", e, d, i, who, s.context, dotsOf(o), answer.context)
	})
	c.learn(answer)
	return r.checkReply(o, s, answer, d)
}

func (r *run) noteLowerings(c version.Context, known version.Vector) {
	claim := c.Claim(known)
	for _, d := range c.Vector {
		if n := claim.Max(d.Actor); n < d.Seq {
			r.lowerings = append(r.lowerings, lowering{d.Actor, n + 1})
		}
	}
}

// checkReply holds the answer of a put against the model: it must not have
// seen more.
func (r *run) checkReply(o object.Object, before, answer seen, d version.Dot) error {
	for e, dot := range r.dots {
		covers := answer.context.Covers(dot)
		if covers && !answer.model.has(e) {
			return fmt.Errorf("the reply to %v covers %v, which its writer has not seen", d, dot)
		}
		if before.context.Covers(dot) && !covers {
			return fmt.Errorf("the reply to %v forgot %v", d, dot)
		}
	}
	for _, s := range o.Siblings {
		if answer.context.Covers(s.Dot) != (s.Dot == d) {
			return fmt.Errorf("the reply to %v covers %v: %v", d, s.Dot, s.Dot != d)
		}
	}
	return nil
}

// read merges some replicas, as a quorum read does.
func (r *run) read(who int) {
	var s state
	for range 1 + r.rand.IntN(len(r.replicas)) {
		s = s.merge(r.replicas[r.rand.IntN(len(r.replicas))])
	}
	r.note(func() string { return fmt.Sprintf("read by %d: %s", who, dotsOf(s.object)) })
	r.clients[who].learn(r.seenBy(s))
}

// seenBy is what a reader of s has seen.
func (r *run) seenBy(s state) seen {
	return seen{s.object.Context(), r.model.known(s.heard), r.strict.known(s.heard)}
}

func (s state) merge(o state) state {
	return state{object.Merge(s.object, o.object), s.heard | o.heard}
}

// send puts a copy of a replica on the way, deliver gives some replica one of
// the copies, in any order and any number of times.
func (r *run) send(i int) {
	r.inFlight = append(r.inFlight, r.replicas[i])
	if len(r.inFlight) > maxInFlight {
		r.inFlight = slices.Delete(r.inFlight, 0, 1)
	}
}

func (r *run) deliver(i int) {
	if len(r.inFlight) == 0 {
		return
	}
	msg := r.inFlight[r.rand.IntN(len(r.inFlight))]
	r.replicas[i] = msg.merge(r.replicas[i])
	r.note(func() string {
		return fmt.Sprintf("merge %s at %d: %s", dotsOf(msg.object), i, dotsOf(r.replicas[i].object))
	})
}

// check compares the siblings of s with what the model keeps. Too few is a
// lost write; too many must be explained by an entry that was lowered.
func (r *run) check(s state) error { return r.compare(s, r.model.alive(s.heard)) }

func (r *run) compare(s state, want events) error {
	var got events
	for _, sib := range s.object.Siblings {
		e := slices.Index(r.dots, sib.Dot)
		if e < 0 || !bytes.Equal(sib.Value, []byte{byte(e)}) {
			return fmt.Errorf("sibling %v with value %d was never written", sib.Dot, sib.Value)
		}
		got |= one(e)
	}
	for e := range want.minus(got).each {
		return fmt.Errorf("%v (event %d) is lost", r.dots[e], e)
	}
	for e := range got.minus(want).each {
		if !r.explained(r.dots[e]) {
			return fmt.Errorf("%v (event %d) should be superseded", r.dots[e], e)
		}
	}
	return nil
}

func (r *run) explained(d version.Dot) bool {
	return slices.ContainsFunc(r.lowerings, func(l lowering) bool { return l.Actor == d.Actor && l.Seq <= d.Seq })
}

func dotsOf(o object.Object) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s [", short(o.Vector))
	for i, s := range o.Siblings {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(short([]version.Dot{s.Dot}))
	}
	return b.String() + "]"
}

func short(dots []version.Dot) string {
	var parts []string
	for _, d := range dots {
		parts = append(parts, fmt.Sprintf("%c%d", 'A'+rune(d.Actor)-1, d.Seq))
	}
	return strings.Join(parts, ",")
}
