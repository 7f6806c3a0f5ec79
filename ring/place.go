package ring

import (
	"container/heap"
	"slices"
)

// placer builds the targets of one ring.
type placer struct {
	partitions int
	members    int
	width      int
	rows       []candidate // of rank
	zones      *zoning
	quotas     []quota
	targets    [][]uint16 // of each partition
	load       []int      // of each member
}

// place gives every partition width targets.
func place(partitions, width int, members []Member) *placer {
	p := newPlacer(partitions, width, members)
	if width > 0 {
		p.take()
		p.complete()
		p.lift()
	}
	return p
}

func newPlacer(partitions, width int, members []Member) *placer {
	zones := newZoning(members, width)
	quotas, rates := zones.quotas(partitions, width, members)
	p := &placer{
		partitions: partitions,
		members:    len(members),
		width:      width,
		rows:       rank(partitions, members, rates),
		zones:      zones,
		quotas:     quotas,
		targets:    make([][]uint16, partitions),
		load:       make([]int, len(members)),
	}
	backing := make([]uint16, partitions*width)
	for i := range p.targets {
		p.targets[i] = backing[i*width : i*width : (i+1)*width]
	}
	return p
}

func (p *placer) row(partition int) []candidate {
	return p.rows[partition*p.members : (partition+1)*p.members]
}

// take hands out the pairs of partition and member in the order of their scores, over the whole ring: a pair is taken
// if the member is below its bound and the partition still wants it. Since both sides prefer by the same score, this is
// the one stable matching: no partition and member would both rather have each other than what they got.
func (p *placer) take() {
	q := make(scoreQueue, p.partitions)
	for i := range q {
		q[i] = cursor{candidate: p.row(i)[0], partition: i}
	}
	heap.Init(&q)
	for len(q) > 0 {
		c := &q[0]
		member := c.member
		if p.load[member] < p.quotas[member].ceiling && p.zones.allows(p.targets[c.partition], member) {
			p.add(c.partition, member)
		}
		c.at++
		if c.at == p.members || len(p.targets[c.partition]) == p.width {
			heap.Pop(&q)
			continue
		}
		c.candidate = p.row(c.partition)[c.at]
		heap.Fix(&q, 0)
	}
}

func (p *placer) add(partition int, member uint16) {
	p.targets[partition] = append(p.targets[partition], member)
	p.load[member]++
}

func (p *placer) remove(partition int, member uint16) {
	set := p.targets[partition]
	set[slices.Index(set, member)] = set[len(set)-1]
	p.targets[partition] = set[:len(set)-1]
	p.load[member]--
}

// cursor is how far take has come in the ranking of a partition.
type cursor struct {
	candidate
	partition int
	at        int
}

// scoreQueue is a heap of cursors, the best candidate first.
type scoreQueue []cursor

func (q scoreQueue) Len() int      { return len(q) }
func (q scoreQueue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *scoreQueue) Push(x any)   { *q = append(*q, x.(cursor)) }

func (q scoreQueue) Less(i, j int) bool {
	if order := q[i].candidate.compare(q[j].candidate); order != 0 {
		return order < 0
	}
	return q[i].partition < q[j].partition
}

func (q *scoreQueue) Pop() any {
	last := (*q)[len(*q)-1]
	*q = (*q)[:len(*q)-1]
	return last
}
