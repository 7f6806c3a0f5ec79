package load

import (
	"fmt"
	"strings"
)

// Op is a kind of operation.
type Op int

// The operations. ReadModifyWrite is a get and a put with the context that it
// answered, measured as one.
const (
	Read Op = iota
	Update
	Insert
	ReadModifyWrite
	opCount
)

var opNames = [opCount]string{"read", "update", "insert", "read_modify_write"}

// String is the operation's name in results.
func (o Op) String() string { return opNames[o] }

// Distribution says which records are asked for.
type Distribution int

// The distributions. Zipfian's popular records lie scattered over the key
// space; Latest prefers those inserted last.
const (
	Uniform Distribution = iota
	Zipfian
	Latest
)

// Workload is a mix of operations.
type Workload struct {
	// Name is the workload's name in results.
	Name string
	// Share is the part of each operation; they add up to 1.
	Share [opCount]float64
	// Distribution chooses the records of all operations but Insert.
	Distribution Distribution
}

// The YCSB core workloads that need get and put alone.
var workloads = []Workload{
	{"a", [opCount]float64{Read: 0.50, Update: 0.50}, Zipfian},
	{"b", [opCount]float64{Read: 0.95, Update: 0.05}, Zipfian},
	{"c", [opCount]float64{Read: 1}, Zipfian},
	{"d", [opCount]float64{Read: 0.95, Insert: 0.05}, Latest},
	{"f", [opCount]float64{Read: 0.50, ReadModifyWrite: 0.50}, Zipfian},
}

// Gets and Puts ask for one thing alone, uniformly.
var (
	Gets = Workload{"get", [opCount]float64{Read: 1}, Uniform}
	Puts = Workload{"put", [opCount]float64{Update: 1}, Uniform}
)

// ParseWorkload gives a YCSB workload by its letter.
func ParseWorkload(s string) (Workload, error) {
	for _, w := range workloads {
		if strings.EqualFold(w.Name, s) {
			return w, nil
		}
	}
	return Workload{}, fmt.Errorf("load: there is no workload %q: a, b, c, d and f are known (e scans, which a key-value store has not)", s)
}

// choose maps u, uniform in [0, 1), to an operation.
func (w *Workload) choose(u float64) Op {
	last := Read
	for op, share := range w.Share {
		if share == 0 {
			continue
		}
		if u < share {
			return Op(op)
		}
		u -= share
		last = Op(op)
	}
	return last // the shares' sum was rounded below 1
}
