package api

import (
	"context"
	"fmt"
	"sync"
	"time"

	"starling/coordinator"
	"starling/store/bucket"
	"starling/store/bucket/resolve"
	"starling/store/object"
	"starling/store/version"
)

// memoryKV is a KV of one replica in memory, with the real object semantics.
type memoryKV struct {
	mu      sync.Mutex
	objects map[string]object.Object
	seq     uint64
	now     func() time.Time
	// modeOf is the mode of the bucket that is stored under a name; nil: siblings.
	modeOf func(stored string) bucket.Mode

	gets []coordinator.GetRequest
	puts []coordinator.PutRequest

	// onGet and onPut, when set, answer instead.
	onGet func(context.Context, coordinator.GetRequest) (coordinator.GetResult, error)
	onPut func(context.Context, coordinator.PutRequest) (coordinator.PutResult, error)
}

const testActor = version.Actor(0xfeed)

var testLimits = object.Limits{Siblings: 5, Bytes: 8 << 20}

func (kv *memoryKV) Get(ctx context.Context, req coordinator.GetRequest) (coordinator.GetResult, error) {
	kv.mu.Lock()
	defer kv.mu.Unlock()
	kv.gets = append(kv.gets, req)
	if kv.onGet != nil {
		return kv.onGet(ctx, req)
	}
	o := kv.objects[req.Bucket+"/"+req.Key]
	if !o.Vector.Descends(req.Session.Vector) {
		return coordinator.GetResult{}, fmt.Errorf("%w: 3 owners were asked", coordinator.ErrNotVisible)
	}
	return coordinator.GetResult{Object: o, Required: 2, Received: 2}, nil
}

func (kv *memoryKV) Put(ctx context.Context, req coordinator.PutRequest) (coordinator.PutResult, error) {
	kv.mu.Lock()
	defer kv.mu.Unlock()
	kv.puts = append(kv.puts, req)
	if kv.onPut != nil {
		return kv.onPut(ctx, req)
	}
	ref := req.Bucket + "/" + req.Key
	o := kv.objects[ref]
	res := coordinator.PutResult{
		Acked: 2, Required: 2, Coordinator: nodeID(2),
		Replicas: []coordinator.Receipt{{Node: nodeID(2), Outcome: coordinator.OutcomeAcked},
			{Node: nodeID(1), Outcome: coordinator.OutcomeAcked}, {Node: nodeID(3)}},
	}
	if req.ReadFirst {
		req.Context = o.Context()
		if len(o.Live(kv.now().UnixMilli())) == 0 {
			res.Context = req.Context
			return res, nil
		}
	}
	for _, s := range o.Siblings {
		if s.Op == req.Sibling.Op && !s.Op.IsZero() {
			res.Dot, res.ModifiedMS, res.Context = s.Dot, s.ModifiedMS, o.Reply(req.Context, s.Dot)
			res.Count, _ = resolve.Count(o, kv.now().UnixMilli())
			return res, nil
		}
	}
	kv.seq++
	dot, nowMS := version.Dot{Actor: testActor, Seq: kv.seq}, kv.now().UnixMilli()
	made, seen, err := req.Sibling, req.Context, error(nil)
	made.Dot, made.ModifiedMS = dot, nowMS
	if req.Increment {
		seen, made, err = resolve.Add(o, dot, req.Sibling.Op, req.Delta, nowMS)
		made.ExpiresMS = req.Sibling.ExpiresMS
	} else {
		mode := bucket.Siblings
		if kv.modeOf != nil {
			mode = kv.modeOf(req.Bucket)
		}
		seen, made, err = resolve.Put(mode, o, seen, made, nowMS)
	}
	if err != nil {
		return coordinator.PutResult{}, err
	}
	if o, err = o.Update(seen, made, testLimits); err != nil {
		return coordinator.PutResult{}, err
	}
	kv.objects[ref] = o
	res.Dot, res.ModifiedMS, res.Context = dot, made.ModifiedMS, resolve.Reply(o, req.Context, dot, req.Sibling.Value)
	res.Count, _ = resolve.Count(o, nowMS)
	return res, nil
}

// calls is how often the KV was asked for anything.
func (kv *memoryKV) calls() int {
	kv.mu.Lock()
	defer kv.mu.Unlock()
	return len(kv.gets) + len(kv.puts)
}

func (kv *memoryKV) lastGet() coordinator.GetRequest {
	kv.mu.Lock()
	defer kv.mu.Unlock()
	return kv.gets[len(kv.gets)-1]
}

func (kv *memoryKV) lastPut() coordinator.PutRequest {
	kv.mu.Lock()
	defer kv.mu.Unlock()
	return kv.puts[len(kv.puts)-1]
}
