package health

import "time"

// breaker is the state machine of the package comment.
type breaker struct {
	cfg   *Config
	state State
	// since is when the state was entered, halfOpened when the breaker last
	// became half open; both zero for one that has never opened. Only calls
	// begun after halfOpened can open it.
	since, halfOpened time.Time
	// backoff is the pause of the last opening or failed probe, probeAt its end.
	backoff time.Duration
	probeAt time.Time
	probing bool
	// gone: the failure detector did not see the peer when probeDue was asked
	// last.
	gone bool
	// trials counts the calls under way that were begun while half open,
	// expired those that expired since.
	trials, expired int
	// answered is when the peer last answered anything.
	answered time.Time
}

func (b *breaker) usable(now time.Time, alive bool) bool {
	switch b.state {
	case Closed:
		return alive || b.fresh(now)
	case HalfOpen:
		return b.trials == 0
	default:
		return false
	}
}

func (b *breaker) fresh(now time.Time) bool {
	return !b.answered.IsZero() && now.Sub(b.answered) <= b.cfg.Fresh
}

func (b *breaker) begin() {
	if b.state == HalfOpen {
		b.trials++
	}
}

// end learns how a call begun at the given time ended, and how many others
// are still under way.
func (b *breaker) end(now, began time.Time, o Outcome, others int) {
	news := !began.Before(b.halfOpened)
	if b.state == HalfOpen && news && b.trials > 0 {
		b.trials--
	}
	// Should a caller have measured badly, the trial ends at the latest with
	// the last call: nothing may keep a half-open peer unusable for ever.
	b.trials = min(b.trials, others)
	switch o {
	case OK, Busy:
		b.answered = now
		if b.state == HalfOpen {
			b.enter(now, Closed)
		}
	case Unreachable, Lost:
		if b.state != Open && news {
			b.open(now)
		}
	case Expired:
		if b.state == HalfOpen && news && now.Sub(began) >= b.cfg.Patience {
			b.trialExpired(now)
		}
	}
}

func (b *breaker) trialExpired(now time.Time) {
	if b.expired++; b.expired >= b.cfg.ExpiredTrials {
		b.open(now)
	}
}

// probeDue says whether to send a probe, and takes it as sent. News that the
// peer is back ends the pause.
func (b *breaker) probeDue(now time.Time, alive bool) bool {
	back := alive && b.gone
	b.gone = !alive
	due := b.state == Open && (back || !now.Before(b.probeAt)) || b.state == Closed && !b.usable(now, alive)
	if b.probing || !due {
		return false
	}
	b.probing = true
	return true
}

// probed learns how a probe sent at the given time ended.
func (b *breaker) probed(now, sent time.Time, ok bool) {
	b.probing = false
	if ok {
		b.answered = now
	}
	switch {
	case b.state == Open && sent.Before(b.since):
		// It was on its way when the peer failed: the failure is the newer news.
	case b.state == Open && ok:
		b.enter(now, HalfOpen)
	case b.state == Open:
		b.postpone(now)
	case b.state == Closed && !ok:
		b.open(now)
	}
}

func (b *breaker) open(now time.Time) {
	if b.state == Closed && now.Sub(b.since) >= b.cfg.Steady {
		b.backoff = 0
	}
	b.enter(now, Open)
	b.postpone(now)
}

func (b *breaker) postpone(now time.Time) {
	b.backoff = min(max(2*b.backoff, b.cfg.FirstProbe), b.cfg.MaxBackoff)
	b.probeAt = now.Add(b.backoff)
}

func (b *breaker) enter(now time.Time, s State) {
	b.state, b.since = s, now
	b.trials, b.expired = 0, 0
	if s == HalfOpen {
		b.halfOpened = now
	}
}
