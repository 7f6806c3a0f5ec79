package coordinator

import (
	"cmp"
	"container/heap"
	"context"

	"starling/store/bucket"
	"starling/store/object"
)

// Bounds of the rows that are read of one partition at a time, and of those to
// which their number grows where a partition is read again and again, as it is
// where most keys are deleted: what is read and not taken is read in vain.
const (
	maxChunk   = 64
	grownChunk = 8
)

// scan merges the rows of some partitions of this node, which are read a few at
// a time: a seek costs as much as ten rows or more. At any moment the rows of
// every partition are known up to some key; they are taken in order, the least of
// all partitions first, so when it stops all of them were gone through up to the
// last row that was taken.
type scan struct {
	req    ScanRequest
	reader ListReader
	// fetch gives the whole object of a row; nil: the rows are enough.
	fetch func(object.Ref) (object.Object, error)
	nowMS int64
	mode  bucket.Mode

	heads  heads
	budget int // rows that may still be read
	read   int // rows that were
	reply  ScanReply
	lives  uint32 // of the rows in reply
	bytes  int
}

// head is a partition with rows that were read and not taken, one or more.
type head struct {
	partition uint32
	rows      []object.Entry
	chunk     int  // rows to read next time
	ended     bool // nothing is behind rows
}

// heads is a heap, the least key on top.
type heads []*head

// Len implements [heap.Interface], as the other methods do.
func (h heads) Len() int           { return len(h) }
func (h heads) Less(i, j int) bool { return h[i].rows[0].Ref.Key < h[j].rows[0].Ref.Key }
func (h heads) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *heads) Push(x any)        { *h = append(*h, x.(*head)) }

// Pop implements [heap.Interface].
func (h *heads) Pop() any {
	last := len(*h) - 1
	x := (*h)[last]
	*h = (*h)[:last]
	return x
}

// run goes through the partitions until there are enough rows, the budget is
// spent, or there is no more. It reads one row of each partition at least, and
// takes one row at least if there is any.
func (s *scan) run(ctx context.Context, partitions []uint32) (ScanReply, error) {
	s.budget = max(int(s.req.MaxRows), len(partitions))
	if err := s.begin(ctx, partitions); err != nil {
		return ScanReply{}, err
	}
	for len(s.heads) > 0 {
		top := s.heads[0]
		row := top.rows[0]
		top.rows = top.rows[1:]
		if err := s.take(row); err != nil {
			return ScanReply{}, err
		}
		if s.enough() {
			s.reply.UpTo = row.Ref.Key
			return s.reply, nil
		}
		if len(top.rows) == 0 && !top.ended {
			if s.budget == 0 {
				s.reply.UpTo = row.Ref.Key
				return s.reply, nil
			}
			if err := s.refill(ctx, top, row.Ref.Key, s.budget); err != nil {
				return ScanReply{}, err
			}
		}
		if len(top.rows) == 0 {
			heap.Pop(&s.heads)
		} else {
			heap.Fix(&s.heads, 0)
		}
	}
	s.reply.Done = true
	return s.reply, nil
}

// begin reads the first rows of all partitions: about twice as many as will be
// taken of each where few keys are deleted, and no more than half of the budget
// but for one row of each.
func (s *scan) begin(ctx context.Context, partitions []uint32) error {
	if len(partitions) == 0 {
		return nil
	}
	chunk := max(1, min(1+2*int(s.req.Limit)/len(partitions), s.budget/(2*len(partitions)), maxChunk))
	all := make([]head, len(partitions))
	for i, p := range partitions {
		h := &all[i]
		*h = head{partition: p, chunk: chunk}
		left := len(partitions) - i - 1 // one row for each of these
		if err := s.refill(ctx, h, s.req.After, s.budget-left); err != nil {
			return err
		}
		if len(h.rows) > 0 {
			s.heads = append(s.heads, h)
		}
	}
	heap.Init(&s.heads)
	return nil
}

// refill reads the next rows of a partition, at most so many.
func (s *scan) refill(ctx context.Context, h *head, after string, most int) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	n := min(h.chunk, most)
	rows, err := s.reader.Read(h.partition, after, n)
	if err != nil {
		return err
	}
	s.budget -= len(rows)
	s.read += len(rows)
	h.rows, h.ended, h.chunk = rows, len(rows) < n, max(h.chunk, min(2*h.chunk, grownChunk))
	return nil
}

// take adds a row to the answer. A row whose object has been purged since it was
// read is none any more.
func (s *scan) take(row object.Entry) error {
	alive := live(s.mode, row.Object, s.nowMS)
	if s.fetch != nil && !dead(row.Object) {
		o, err := s.fetch(row.Ref)
		if err != nil {
			return err
		}
		row.Object = o
	}
	if row.Object.Absent() {
		return nil
	}
	if alive {
		s.lives++
	}
	row.Ref = object.Ref{Key: row.Ref.Key}
	s.reply.Rows = append(s.reply.Rows, row)
	s.bytes += rowBytes(row)
	return nil
}

// dead: there is no value in the object, so it is whole without values. One that
// expired has one: with the copy of an owner that still shows it, it is the same
// write, and must be the same in the merge.
func dead(o object.Object) bool {
	for i := range o.Siblings {
		if !o.Siblings[i].Tombstone {
			return false
		}
	}
	return true
}

func (s *scan) enough() bool { return s.lives >= s.req.Limit || s.bytes >= int(s.req.MaxBytes) }

func compareKeys(a, b object.Entry) int { return cmp.Compare(a.Ref.Key, b.Ref.Key) }
