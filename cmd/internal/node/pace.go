package node

import (
	"time"

	"starling/coordinator/api"
)

// transferPace is the pace of this node's transfers, as the API changes it.
type transferPace struct{ n *Node }

// Pace implements [api.Pace].
func (p transferPace) Pace() api.PaceReport {
	rate, until := p.n.pace.Now()
	return api.PaceReport{BytesPerSecond: rate, Setting: p.n.pace.Setting(), Until: until}
}

// SetPace implements [api.Pace].
func (p transferPace) SetPace(bytesPerSecond int64, until time.Time) {
	p.n.pace.Change(bytesPerSecond, until)
}

// ResetPace implements [api.Pace].
func (p transferPace) ResetPace() {
	p.n.pace.Reset()
}
