package rpc

import (
	"context"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"starling/antientropy"
	"starling/antientropy/merkle"
	"starling/coordinator"
	"starling/coordinator/rpc/internal/wire"
	"starling/ring"
	"starling/store/object"
	"starling/store/version"
)

var testClaim = antientropy.Claim{Partition: 1023, Stamp: 0x0102030405060708}

func testKeys() antientropy.KeysRequest {
	q := antientropy.KeysRequest{
		Claim: testClaim, Salt: math.MaxUint64, Inner: 1<<31 | 1, MaxKeys: maxKeys,
		After: antientropy.KeyPosition{Leaf: merkle.Leaves - 1, Ref: testRef},
	}
	for i := range 2 * merkle.Fanout {
		q.Leaves = append(q.Leaves, merkle.Digest(math.MaxUint32-i))
	}
	return q
}

func testKeysPage() antientropy.KeysPage {
	key := func(key string) antientropy.KeyDigest {
		return antientropy.KeyDigest{Ref: object.Ref{Partition: 1023, Bucket: "b", Key: key}, Hash: math.MaxUint64, Vector: testVector}
	}
	return antientropy.KeysPage{More: true, Leaves: []antientropy.LeafKeys{
		{Leaf: 1, Keys: []antientropy.KeyDigest{{Ref: testRef, Hash: 1, Vector: version.Vector{{Actor: 1, Seq: 1}}}}},
		{Leaf: merkle.Leaves - 1, Keys: []antientropy.KeyDigest{key("k"), key("l")}},
	}}
}

func testFetch() antientropy.FetchRequest {
	return antientropy.FetchRequest{
		Claim: testClaim, Refs: []object.Ref{testRef, {Partition: 1, Bucket: "b", Key: "k"}}, MaxBytes: math.MaxUint32,
	}
}

func testFetchPage() antientropy.FetchPage { return antientropy.FetchPage(testPage()) }

func testPush() antientropy.PushRequest {
	return antientropy.PushRequest{Claim: testClaim, Entries: testPage().Entries}
}

func testReport() antientropy.Report {
	return antientropy.Report{
		Pairs: []antientropy.Pair{
			{Partition: 1023, Peer: nodeA, Proven: true, Age: 9500 * time.Millisecond, Holds: true},
			{Partition: 1, Peer: nodeB, Proven: true, Age: time.Duration(maxAgeMS) * time.Millisecond, Holds: true},
		},
		Tombstones: math.MaxInt64, Hints: 3, Filling: 65536,
		Blockers: []antientropy.Blocker{{Node: nodeB, Reason: "unreachable"}, {Node: nodeA, Reason: strings.Repeat("r", maxMessageBytes)}},
	}
}

func testCandidates() antientropy.CandidatesPage {
	return antientropy.CandidatesPage{More: true, Candidates: []antientropy.Candidate{
		{Ref: testRef, Hash: math.MaxUint64, Reap: antientropy.ReapDelete, Vector: testVector},
		{Ref: object.Ref{Partition: 1, Bucket: "b", Key: "k"}, Hash: 1, Reap: antientropy.ReapPrune, Vector: testVector[:1]},
	}}
}

func testVerify() antientropy.VerifyRequest {
	return antientropy.VerifyRequest{Fence: math.MaxUint64, Keys: []antientropy.VerifyKey{
		{Ref: testRef, Stamp: 1, Hash: math.MaxUint64, Reap: antientropy.ReapDelete, Vector: testVector},
		{Ref: object.Ref{Partition: 1, Bucket: "b", Key: "k"}, Stamp: math.MaxUint64, Hash: 1, Reap: antientropy.ReapPrune, Vector: testVector[:1]},
	}}
}

func testVerifyReply() antientropy.VerifyReply {
	return antientropy.VerifyReply{
		Fence: 7, Boot: math.MaxUint64, States: []antientropy.KeyState{antientropy.StateRefused, antientropy.StateAgreed},
		HintWrites: []uint64{0, math.MaxUint64}, Actors: []version.Actor{math.MaxUint64, 0, 7},
	}
}

func testPurge() antientropy.PurgeRequest {
	q := antientropy.PurgeRequest{Fence: 9}
	for _, k := range testVerify().Keys {
		q.Keys = append(q.Keys, antientropy.PurgeKey(k))
	}
	return q
}

func testRepair() *antientropy.RepairRequest {
	partition := uint32(1023)
	return &antientropy.RepairRequest{Partition: &partition, Bucket: "birds", Node: nodeA}
}

func testRepairStatus() antientropy.RepairStatus {
	return antientropy.RepairStatus{
		ID: 3, Running: true, Started: time.UnixMilli(1_700_000_000_000), PairsDone: 5, PairsTotal: 700,
		KeysShipped: math.MaxUint64, BytesShipped: 1 << 40, Unreachable: []ring.NodeID{nodeA, nodeB},
	}
}

func convergeMessages() []message {
	candidates := antientropy.CandidatesRequest{After: testRef, Max: maxKeys}
	return []message{
		messageOf("compare-request-sketches", testCompare(), appendCompareRequest, decodeCompareRequest),
		messageOf("keys-request", testKeys(), appendKeysRequest, decodeKeysRequest),
		messageOf("keys-page", testKeysPage(), appendKeysPage, decodeKeysPage),
		messageOf("fetch-request", testFetch(), appendFetchRequest, decodeFetchRequest),
		messageOf("fetch-page", testFetchPage(), appendFetchPage, decodeFetchPage),
		messageOf("push-request", testPush(), appendPushRequest, decodePushRequest),
		messageOf("count", uint32(math.MaxUint32), appendCount, decodeCount),
		messageOf("report", testReport(), appendReport, decodeReport),
		messageOf("candidates-request", candidates, appendCandidatesRequest, decodeCandidatesRequest),
		messageOf("candidates-page", testCandidates(), appendCandidatesPage, decodeCandidatesPage),
		messageOf("verify-request", testVerify(), appendVerifyRequest, decodeVerifyRequest),
		messageOf("verify-reply", testVerifyReply(), appendVerifyReply, decodeVerifyReply),
		messageOf("purge-request", testPurge(), appendPurgeRequest, decodePurgeRequest),
		messageOf("repair-request", testRepair(), appendRepairRequest, decodeRepairRequest),
		messageOf("repair-status", testRepairStatus(), appendRepairStatus, decodeRepairStatus),
	}
}

// convergeCalls call nodeB with messages of nothing.
func convergeCalls(t *testing.T, caller *Transport) map[string]func() error {
	return map[string]func() error{
		"compare": func() error {
			_, err := caller.Compare(short(t), nodeB, antientropy.CompareRequest{})
			return err
		},
		"keys":   func() error { _, err := caller.Keys(short(t), nodeB, antientropy.KeysRequest{}); return err },
		"fetch":  func() error { _, err := caller.Fetch(short(t), nodeB, antientropy.FetchRequest{}); return err },
		"push":   func() error { _, err := caller.Push(short(t), nodeB, antientropy.PushRequest{}); return err },
		"report": func() error { _, err := caller.Report(short(t), nodeB); return err },
		"candidates": func() error {
			_, err := caller.Candidates(short(t), nodeB, antientropy.CandidatesRequest{})
			return err
		},
		"verify": func() error { _, err := caller.Verify(short(t), nodeB, antientropy.VerifyRequest{}); return err },
		"purge":  func() error { _, err := caller.Purge(short(t), nodeB, antientropy.PurgeRequest{}); return err },
		"repair": func() error { _, err := caller.Repair(short(t), nodeB, nil); return err },
	}
}

func TestEveryConvergeMethod(t *testing.T) {
	compared := []antientropy.Comparison{testComparison(3), testListed()}
	caller, _, _ := pair(t, &fakeNode{
		compare: func(_ context.Context, q antientropy.CompareRequest) ([]antientropy.Comparison, error) {
			same(t, q, testCompare())
			return compared, nil
		},
		keys: func(_ context.Context, q antientropy.KeysRequest) (antientropy.KeysPage, error) {
			same(t, q, testKeys())
			return testKeysPage(), nil
		},
		fetch: func(_ context.Context, q antientropy.FetchRequest) (antientropy.FetchPage, error) {
			same(t, q, testFetch())
			return testFetchPage(), nil
		},
		push: func(_ context.Context, q antientropy.PushRequest) (uint32, error) {
			same(t, q, testPush())
			return 2, nil
		},
		report: func(context.Context) (antientropy.Report, error) { return testReport(), nil },
		candidates: func(_ context.Context, q antientropy.CandidatesRequest) (antientropy.CandidatesPage, error) {
			same(t, q, antientropy.CandidatesRequest{After: testRef, Max: 5})
			return testCandidates(), nil
		},
		verify: func(_ context.Context, q antientropy.VerifyRequest) (antientropy.VerifyReply, error) {
			same(t, q, testVerify())
			return testVerifyReply(), nil
		},
		purge: func(_ context.Context, q antientropy.PurgeRequest) (uint32, error) {
			same(t, q, testPurge())
			return 1, nil
		},
		repair: func(_ context.Context, start *antientropy.RepairRequest) (antientropy.RepairStatus, error) {
			if start == nil {
				return antientropy.RepairStatus{}, nil
			}
			if *start != (antientropy.RepairRequest{}) {
				same(t, start, testRepair())
			}
			return testRepairStatus(), nil
		},
	})
	ctx := short(t)
	comparisons, err := caller.Compare(ctx, nodeB, testCompare())
	wantErr(t, err, nil)
	same(t, comparisons, compared)
	keys, err := caller.Keys(ctx, nodeB, testKeys())
	wantErr(t, err, nil)
	same(t, keys, testKeysPage())
	page, err := caller.Fetch(ctx, nodeB, testFetch())
	wantErr(t, err, nil)
	same(t, page, testFetchPage())
	news, err := caller.Push(ctx, nodeB, testPush())
	wantErr(t, err, nil)
	same(t, news, 2)
	repair, err := caller.Repair(ctx, nodeB, testRepair())
	wantErr(t, err, nil)
	same(t, repair, testRepairStatus())
	_, err = caller.Repair(ctx, nodeB, &antientropy.RepairRequest{}) // of everything
	wantErr(t, err, nil)
	repair, err = caller.Repair(ctx, nodeB, nil)
	wantErr(t, err, nil)
	same(t, repair, antientropy.RepairStatus{})
	report, err := caller.Report(ctx, nodeB)
	wantErr(t, err, nil)
	same(t, report, testReport())
	candidates, err := caller.Candidates(ctx, nodeB, antientropy.CandidatesRequest{After: testRef, Max: 5})
	wantErr(t, err, nil)
	same(t, candidates, testCandidates())
	verified, err := caller.Verify(ctx, nodeB, testVerify())
	wantErr(t, err, nil)
	same(t, verified, testVerifyReply())
	purged, err := caller.Purge(ctx, nodeB, testPurge())
	wantErr(t, err, nil)
	same(t, purged, 1)
}

// The first leaf has number zero, and one that differs may have no keys here.
func TestLeavesWithoutKeys(t *testing.T) {
	page := antientropy.KeysPage{Leaves: []antientropy.LeafKeys{
		{}, {Leaf: 7}, {Leaf: 8, Keys: testKeysPage().Leaves[0].Keys}, {Leaf: 9},
	}}
	b := appendKeysPage(nil, page)
	golden(t, "keys-page-without", b)
	got, err := decodeKeysPage(b)
	wantErr(t, err, nil)
	same(t, got, page)
}

// What fills a connection has one of its own.
func TestClasses(t *testing.T) {
	bulk := map[string]bool{
		"exchange": true, "pull": true, "keys": true, "fetch": true, "push": true,
		"candidates": true, "verify": true, "purge": true, "list": true,
	}
	for m := methodPing; m < methods; m++ {
		if got := m.class() == wire.Bulk; got != bulk[m.String()] {
			t.Errorf("%s: bulk %v", m, got)
		}
	}
}

// A stamp that is refused is found by the caller, under both its names, and so
// is that the key was not touched.
func TestRefusedStamps(t *testing.T) {
	for _, name := range []error{coordinator.ErrStaleRing, antientropy.ErrRefused} {
		refused := fmt.Errorf("partition 3: %w", name)
		caller, _, _ := pair(t, &fakeNode{
			push:  func(context.Context, antientropy.PushRequest) (uint32, error) { return 0, refused },
			purge: func(context.Context, antientropy.PurgeRequest) (uint32, error) { return 0, refused },
		})
		_, err := caller.Push(short(t), nodeB, testPush())
		wantErr(t, err, coordinator.ErrStaleRing, antientropy.ErrRefused)
		certain(t, err)
		_, err = caller.Purge(short(t), nodeB, testPurge())
		wantErr(t, err, coordinator.ErrStaleRing, antientropy.ErrRefused)
		certain(t, err)
	}
}

// An answer that is not about what was asked is not taken.
func TestRepliesOfAnotherLength(t *testing.T) {
	n := &fakeNode{
		compare: func(context.Context, antientropy.CompareRequest) ([]antientropy.Comparison, error) {
			return []antientropy.Comparison{testComparison(1)}, nil
		},
		fetch: func(context.Context, antientropy.FetchRequest) (antientropy.FetchPage, error) {
			return antientropy.FetchPage{Done: 3}, nil
		},
	}
	caller, _, _ := pair(t, n)
	refused := func(err error, text string) {
		t.Helper()
		wantErr(t, err, coordinator.ErrUnknown, ErrMalformed)
		if !strings.Contains(err.Error(), text) {
			t.Errorf("got %v, want %q", err, text)
		}
	}
	_, err := caller.Compare(short(t), nodeB, testCompare())
	refused(err, "1 comparisons, asked for 2")
	_, err = caller.Fetch(short(t), nodeB, testFetch())
	refused(err, "0 objects of 3 references, asked for 2")
	n.fetch = func(context.Context, antientropy.FetchRequest) (antientropy.FetchPage, error) {
		return antientropy.FetchPage{Entries: testPage().Entries, Done: 1}, nil
	}
	_, err = caller.Fetch(short(t), nodeB, testFetch())
	refused(err, "2 objects of 1 references")
	for _, of := range []int{0, 2, 4} {
		n.sizes = func(context.Context, antientropy.SizesRequest) (antientropy.SizesReply, error) {
			return antientropy.SizesReply{Bytes: make([]uint64, of)}, nil
		}
		got, err := caller.Sizes(short(t), nodeB, testSizes)
		refused(err, fmt.Sprintf("%d sizes, asked for 3", of))
		same(t, got, antientropy.SizesReply{})
	}
	for _, c := range []struct {
		states, writes int
		want           string
	}{
		{1, 2, "1 states, asked for 2"},
		{3, 2, "3 states, asked for 2"},
		{2, 1, "1 counts of hint writes, asked for 2"},
		{2, 3, "3 counts of hint writes, asked for 2"},
	} {
		n.verify = func(context.Context, antientropy.VerifyRequest) (antientropy.VerifyReply, error) {
			return antientropy.VerifyReply{States: make([]antientropy.KeyState, c.states), HintWrites: make([]uint64, c.writes)}, nil
		}
		got, err := caller.Verify(short(t), nodeB, testVerify())
		refused(err, c.want)
		same(t, got, antientropy.VerifyReply{})
	}
}
