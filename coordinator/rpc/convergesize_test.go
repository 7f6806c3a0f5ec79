package rpc

import (
	"context"
	"encoding/hex"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"starling/antientropy"
	"starling/antientropy/merkle"
	"starling/coordinator"
	"starling/coordinator/rpc/internal/wire"
	"starling/store/object"
	"starling/store/version"
)

// A round over partitions that are equal costs little.
func TestCompareIsSmall(t *testing.T) {
	var q antientropy.CompareRequest
	var a []antientropy.Comparison
	for p := range uint32(256) {
		q.Roots = append(q.Roots, antientropy.RootClaim{
			Claim: antientropy.Claim{Partition: 4 * p, Stamp: math.MaxUint64},
			Root:  merkle.Node{Sum: math.MaxUint64, Keys: 10_000},
		})
		a = append(a, antientropy.Comparison{Verdict: antientropy.VerdictEqual})
	}
	q.From, q.Salt = nodeA, math.MaxUint64
	got := len(appendCompareRequest(nil, q)) + len(appendComparisons(nil, a)) + 2*wire.HeaderBytes
	if got > 7<<10 {
		t.Errorf("%d bytes", got)
	}
}

// The largest messages that a node may ask for, with the longest names and
// long vectors, pass the bounds of the decoders and of a frame.
func TestLargestPagesPass(t *testing.T) {
	ref := object.Ref{Partition: 65535, Bucket: strings.Repeat("b", 255), Key: strings.Repeat("k", maxNameBytes)}
	var v version.Vector
	for i := range 20 {
		v = append(v, version.Dot{Actor: version.Actor(i), Seq: math.MaxUint64})
	}
	keys := antientropy.KeysPage{Leaves: make([]antientropy.LeafKeys, 2)}
	keys.Leaves[1].Leaf = 5
	var verify antientropy.VerifyRequest
	var reply antientropy.VerifyReply
	for i := range max(antientropy.MaxKeysPage, antientropy.MaxCandidates) {
		leaf := &keys.Leaves[i%2]
		leaf.Keys = append(leaf.Keys, antientropy.KeyDigest{Ref: ref, Hash: math.MaxUint64, Vector: v})
		verify.Keys = append(verify.Keys, antientropy.VerifyKey{Ref: ref, Stamp: 1, Hash: math.MaxUint64, Reap: antientropy.ReapDelete, Vector: v})
		reply.States = append(reply.States, antientropy.StateAgreed)
		reply.HintWrites = append(reply.HintWrites, math.MaxUint64)
	}
	for _, m := range []message{
		messageOf("keys-page", keys, appendKeysPage, decodeKeysPage),
		messageOf("verify-request", verify, appendVerifyRequest, decodeVerifyRequest),
		messageOf("verify-reply", reply, appendVerifyReply, decodeVerifyReply),
	} {
		b := m.append(nil, m.full)
		got, err := m.decode(b)
		wantErr(t, err, nil)
		same(t, got, m.full)
		if len(b) > wire.MaxPayload {
			t.Errorf("%s: %d bytes", m.name, len(b))
		}
	}
}

// What a frame is grown by is at least what the message takes, and not much
// more.
func TestConvergeSizeHints(t *testing.T) {
	long := testKeysPage()
	for range 4000 {
		long.Leaves[0].Keys = append(long.Leaves[0].Keys, antientropy.KeyDigest{Ref: testRef, Hash: 1, Vector: testVector})
	}
	differs := []antientropy.Comparison{testComparison(1), testComparison(2), {}, testListed()}
	leaves := antientropy.KeysPage{More: true}
	for i := range uint16(merkle.Leaves) {
		leaves.Leaves = append(leaves.Leaves, antientropy.LeafKeys{Leaf: i})
	}
	for _, c := range []struct {
		name      string
		hint, got int
	}{
		{"compare", compareBytes(testCompare()), len(appendCompareRequest(nil, testCompare()))},
		{"comparisons", comparisonsBytes(differs), len(appendComparisons(nil, differs))},
		{"keys", keysRequestBytes(testKeys()), len(appendKeysRequest(nil, testKeys()))},
		{"keys page", keysPageBytes(testKeysPage()), len(appendKeysPage(nil, testKeysPage()))},
		{"long keys page", keysPageBytes(long), len(appendKeysPage(nil, long))},
		{"keys page without keys", keysPageBytes(leaves), len(appendKeysPage(nil, leaves))},
		{"fetch", fetchBytes(testFetch()), len(appendFetchRequest(nil, testFetch()))},
		{"fetch page", entriesBytes(testFetchPage().Entries), len(appendFetchPage(nil, testFetchPage()))},
		{"push", entriesBytes(testPush().Entries), len(appendPushRequest(nil, testPush()))},
		{"report", reportBytes(testReport()), len(appendReport(nil, testReport()))},
		{"candidates", candidatesPageBytes(testCandidates()), len(appendCandidatesPage(nil, testCandidates()))},
		{"verify", reapBytes(testVerify().Keys), len(appendVerifyRequest(nil, testVerify()))},
		{"verify reply", verifyReplyBytes(testVerifyReply()), len(appendVerifyReply(nil, testVerifyReply()))},
		{"purge", reapBytes(testPurge().Keys), len(appendPurgeRequest(nil, testPurge()))},
	} {
		if c.hint < c.got || c.hint > 2*c.got+64 {
			t.Errorf("%s: room for %d bytes, %d were taken", c.name, c.hint, c.got)
		}
	}
}

// A push that no frame can hold is refused before it is sent, and the error
// says how large it may be.
func TestPushTooLarge(t *testing.T) {
	caller, _, _ := pair(t, &fakeNode{push: func(_ context.Context, q antientropy.PushRequest) (uint32, error) {
		return uint32(len(q.Entries)), nil
	}})
	big := antientropy.PushRequest{Claim: testClaim}
	o := object.Object{Vector: testVector, Siblings: []object.Sibling{{Dot: testVector[0], Value: make([]byte, 8<<20)}}}
	for range 8 {
		big.Entries = append(big.Entries, object.Entry{Ref: testRef, Object: o})
	}
	_, err := caller.Push(short(t), nodeB, big)
	wantErr(t, err, coordinator.ErrInvalid)
	certain(t, err)
	if want := fmt.Sprintf("bytes, at most %d", wire.MaxPayload); !strings.Contains(err.Error(), want) {
		t.Errorf("got %q, want %q", err, want)
	}
	news, err := caller.Push(short(t), nodeB, testPush())
	wantErr(t, err, nil)
	same(t, news, 2)
}

// A report never grows beyond what its reader takes.
func TestLongReportIsCut(t *testing.T) {
	a := antientropy.Report{Pairs: []antientropy.Pair{{Peer: nodeA, Age: -time.Second}}}
	for range maxBlockers + 10 {
		a.Blockers = append(a.Blockers, antientropy.Blocker{Node: nodeA, Reason: strings.Repeat("é", maxMessageBytes)})
	}
	got, err := decodeReport(appendReport(nil, a))
	wantErr(t, err, nil)
	if len(got.Blockers) != maxBlockers || len(got.Blockers[0].Reason) != maxMessageBytes || got.Pairs[0].Age != 0 {
		t.Errorf("%d blockers, the first %s, age %v", len(got.Blockers), hex.EncodeToString([]byte(got.Blockers[0].Reason)), got.Pairs[0].Age)
	}
}
