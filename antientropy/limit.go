package antientropy

import (
	"sync"
	"time"
)

// Limit is a rate in bytes per second that may be changed for a while: it is
// the one that was set at the start again when the while is over, and in the
// next run. Make it with [NewLimit]; it may be used by many goroutines.
type Limit struct {
	setting int64

	mu    sync.Mutex // guards what follows
	rate  int64
	until time.Time // zero: the setting is in force
}

// NewLimit makes a limit of so many bytes per second, above 0.
func NewLimit(setting int64) *Limit { return &Limit{setting: setting} }

// Setting is the rate of the start.
func (l *Limit) Setting() int64 { return l.setting }

// Change has the limit be another rate until a time; 0 lets nothing through.
func (l *Limit) Change(bytesPerSecond int64, until time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rate, l.until = max(bytesPerSecond, 0), until
}

// Reset goes back to the setting.
func (l *Limit) Reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rate, l.until = 0, time.Time{}
}

// Now is the rate in force, and until when it was changed; the zero time is
// that of the setting.
func (l *Limit) Now() (bytesPerSecond int64, until time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.until.IsZero() || !time.Now().Before(l.until) {
		return l.setting, time.Time{}
	}
	return l.rate, l.until
}

// Rate is the rate in force, bytes per second; 0 lets nothing through.
func (l *Limit) Rate() int64 {
	rate, _ := l.Now()
	return rate
}
