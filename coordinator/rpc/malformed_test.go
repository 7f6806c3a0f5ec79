package rpc

import (
	"bytes"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"starling/antientropy"
	"starling/antientropy/merkle"
	"starling/ring"
	"starling/store/object"
	"starling/store/version"
)

func TestEveryCutIsNoticedOrShorter(t *testing.T) {
	for _, m := range messages() {
		b := m.append(nil, m.full)
		for n := range b {
			got, err := m.decode(b[:n])
			if err == nil && reflect.DeepEqual(got, m.full) {
				t.Errorf("%s: %d of %d bytes pass for the whole", m.name, n, len(b))
			}
			if err != nil && !errors.Is(err, ErrMalformed) {
				t.Errorf("%s: %v is not ErrMalformed", m.name, err)
			}
		}
	}
}

func TestMalformedMessages(t *testing.T) {
	tag := func(num protowire.Number, typ protowire.Type, rest ...byte) []byte {
		return append(protowire.AppendTag(nil, num, typ), rest...)
	}
	text := func(num protowire.Number, s string) []byte { return appendText(nil, num, s) }
	read := func(b []byte) error { _, err := decodeReadRequest(b); return err }
	forward := func(b []byte) error { _, err := decodeForwardRequest(b); return err }
	result := func(b []byte) error { _, err := decodePutResult(b); return err }
	claims := func(b []byte) error { _, err := decodeClaims(b); return err }
	page := func(b []byte) error { _, err := decodePullPage(b); return err }
	exchange := func(b []byte) error { _, err := decodeMap(b); return err }
	replicate := func(b []byte) error { _, err := decodeReplicateRequest(b); return err }
	inspect := func(b []byte) error { _, err := decodeInspectReply(b); return err }
	sizes := func(b []byte) error { _, err := decodeSizesRequest(b); return err }
	sized := func(b []byte) error { _, err := decodeSizesReply(b); return err }
	status := func(b []byte) error { _, err := decodeNodeStatus(b); return err }
	held := func(b []byte) []byte { return text(inspectCopy, string(b)) }
	sibling := func(b []byte) []byte { return held(text(copySibling, string(b))) }
	dot := text(siblingDot, string(version.AppendDot(nil, version.Dot{Actor: 1, Seq: 1})))
	remote := func(b []byte) error { _, err := decodeError(b); return err }
	refuses(t, []malformedMessage{
		{"tag cut short", read, []byte{0x80}, "bad tag"},
		{"field number 0", read, []byte{0x02, 0x00}, "bad tag"},
		{"long form of a tag", read, []byte{0x88, 0x00, 0x01}, "bad tag"},
		{"group", read, tag(9, protowire.StartGroupType), "bad value of field 9"},
		{"wrong type", read, tag(1, protowire.Fixed64Type, 1, 0, 0, 0, 0, 0, 0, 0), "wire type 1"},
		{"text as a number", read, text(1, "x"), "wire type 2"},
		{"number as text", read, tag(2, protowire.VarintType, 1), "wire type 0"},
		{"twice", read, append(text(2, "a"), text(2, "b")...), "field 2 twice"},
		{"backwards", read, append(text(3, "a"), text(2, "b")...), "field 2 after field 3"},
		{"zero written out", read, tag(1, protowire.VarintType, 0), "zero value of field 1"},
		{"empty text written out", read, tag(2, protowire.BytesType, 0), "zero value of field 2"},
		{"zero stamp written out", read, tag(4, protowire.Fixed64Type, 0, 0, 0, 0, 0, 0, 0, 0), "zero value of field 4"},
		{"long form of a number", read, tag(1, protowire.VarintType, 0x81, 0x00), "bad value of field 1"},
		{"long form of a length", read, tag(2, protowire.BytesType, 0x81, 0x00, 'x'), "bad value of field 2"},
		{"length beyond the end", read, tag(2, protowire.BytesType, 5, 'x'), "bad value of field 2"},
		{"partition too high", read, tag(1, protowire.VarintType, 0x80, 0x80, 0x04), "is 65536, at most 65535"},
		{"key too long", read, text(3, strings.Repeat("k", maxNameBytes+1)), "4097 bytes, at most 4096"},
		{"flag of 2", forward, tag(forwardReadFirst, protowire.VarintType, 2), "is 2, at most 1"},
		{"unknown level", forward, appendNested(nil, forwardConsistency, func([]byte) []byte { return tag(consistencyLevel, protowire.VarintType, 7) }), "is 7, at most 6"},
		{"short operation ID", forward, text(forwardOp, "short"), "5 bytes, want 16"},
		{"zero operation ID", forward, text(forwardOp, string(make([]byte, 16))), "zero value"},
		{"bad context", forward, text(forwardContext, "\x01\x02"), "field 6"},
		{"bytes after the context", forward, append(appendHead(nil, forwardContext, version.SizeContext(testContext())+1), append(version.AppendContext(nil, testContext()), 0)...), "1 bytes after"},
		{"empty context written out", forward, text(forwardContext, "\x00\x00"), "zero value"},
		{"bad dot", forward, text(forwardDot, "short"), "field 14"},
		{"too many metadata fields", forward, bytes.Repeat(tag(forwardMeta, protowire.BytesType, 0), object.MaxFields+1), "more than 1024 times"},
		{"too many receipts", result, bytes.Repeat(tag(resultReceipt, protowire.BytesType, 0), maxReplicas+1), "more than 1024 times"},
		{"unknown outcome", result, appendNested(nil, resultReceipt, func([]byte) []byte { return tag(receiptOutcome, protowire.VarintType, 4) }), "is 4, at most 3"},
		{"short holder", result, text(resultReceipt, string(text(receiptHolder, "short"))), "5 bytes, want 16"},
		{"short target", replicate, text(replicateFor, "short"), "5 bytes, want 16"},
		{"hints of 2", read, tag(readHints, protowire.VarintType, 2), "is 2, at most 1"},
		{"copy of nothing", inspect, tag(inspectCopy, protowire.BytesType, 0), "zero value of field 1"},
		{"bad vector", inspect, held(text(copyVector, "\x01")), "field 1"},
		{"empty vector written out", inspect, held(text(copyVector, "\x00")), "zero value of field 1"},
		{"bytes after the vector", inspect, held(text(copyVector, string(append(version.AppendVector(nil, testVector), 0)))), "1 bytes after the vector"},
		{"too many siblings", inspect, held(bytes.Repeat(text(copySibling, string(dot)), object.MaxSiblings+1)), "more than 65536 times"},
		{"sibling without a dot", inspect, sibling(tag(siblingBytes, protowire.VarintType, 1)), "without a dot"},
		{"empty sibling", inspect, held(tag(copySibling, protowire.BytesType, 0)), "without a dot"},
		{"value too long", inspect, sibling(appendUint(dot, siblingBytes, math.MaxInt32+1)), "at most 2147483647"},
		{"too many hints", inspect, bytes.Repeat(tag(inspectHint, protowire.BytesType, 0), maxReplicas+1), "more than 1024 times"},
		{"leaf too high", inspect, appendUint(nil, inspectLeaf, math.MaxUint16+1), "is 65536, at most 65535"},
		{"too many hints kept", status, appendUint(nil, statusHints, math.MaxInt64+1), "at most"},
		{"too many partitions pending", status, appendUint(nil, statusPending, ring.MaxPartitions+1), "at most 65536"},
		{"too long a reason", status, text(statusLeaving, strings.Repeat("x", maxMessageBytes+1)), "at most 1024"},
		{"half a partition", sizes, text(sizesPartitions, "123"), "3 bytes, not a multiple of 4"},
		{"size of no partition", sizes, appendPacked32(nil, sizesPartitions, []uint32{0, 65536}), "partition 65536, at most 65535"},
		{"too many partitions", sizes, text(sizesPartitions, strings.Repeat("\x00", 4*maxSizes+4)), "at most"},
		{"too many sizes", sized, text(sizesBytes, strings.Repeat("\x01", maxSizes+1)), "more than 16384 numbers"},
		{"too many claims", claims, bytes.Repeat(tag(claimsClaim, protowire.BytesType, 0), ring.MaxPartitions+1), "more than 65536 times"},
		{"claim is a number", claims, tag(claimsClaim, protowire.VarintType, 1), "wire type 0"},
		{"entry without an object", page, text(pageEntry, string(text(refKey, "k"))), "without an object"},
		{"bad object", page, text(pageEntry, string(text(entryObject, "x"))), "field 4"},
		{"absent object written out", page, text(pageEntry, string(text(entryObject, "\x01"))), "zero value of field 4"},
		{"no map", exchange, nil, "no map"},
		{"bad map", exchange, text(exchangeMap, "x"), "malformed"},
		{"codes out of order", remote, text(errorCodes, "\x02\x01"), "code 1 out of order"},
		{"code 0", remote, text(errorCodes, "\x00"), "code 0"},
		{"too many codes", remote, text(errorCodes, string(manyCodes(maxCodes+1))), "more than 64 numbers"},
		{"two quorums", remote, bytes.Repeat(tag(errorQuorum, protowire.BytesType, 0), 2), "field 5 twice"},
		{"message too long", remote, text(errorMessage, strings.Repeat("x", maxMessageBytes+1)), "at most 1024"},
	})
}

// malformedMessage is bytes that a decoder refuses with a text.
type malformedMessage struct {
	name   string
	decode func([]byte) error
	in     []byte
	want   string
}

func refuses(t *testing.T, all []malformedMessage) {
	t.Helper()
	for _, c := range all {
		err := c.decode(c.in)
		if !errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", c.name, err, c.want)
		}
	}
}

func TestMalformedConvergeMessages(t *testing.T) {
	compare := refusalOf(decodeCompareRequest)
	comparisons := refusalOf(decodeComparisons)
	keys := refusalOf(decodeKeysRequest)
	page := refusalOf(decodeKeysPage)
	fetch := refusalOf(decodeFetchRequest)
	push := refusalOf(decodePushRequest)
	count := refusalOf(decodeCount)
	report := refusalOf(decodeReport)
	wanted := refusalOf(decodeCandidatesRequest)
	candidates := refusalOf(decodeCandidatesPage)
	verify := refusalOf(decodeVerifyRequest)
	verified := refusalOf(decodeVerifyReply)
	purge := refusalOf(decodePurgeRequest)

	text := func(num protowire.Number, b []byte) []byte { return appendText(nil, num, b) }
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	vector := version.AppendVector(nil, testVector)
	digest := func(n int) []byte { return bytes.Repeat([]byte{1}, n) }
	key := appendKeyDigest(nil, antientropy.KeyDigest{Ref: testRef, Hash: 1, Vector: testVector})
	leaf := func(number uint64, rest ...[]byte) []byte {
		return appendText(nil, keysPageLeaf, append(appendUint(nil, leafNumber, number), join(rest...)...))
	}
	pairOf := func(rest []byte) []byte { return text(reportPair, append(appendID(nil, pairPeer, nodeA), rest...)) }
	reap := appendReapKey(nil, reapKeys, testVerify().Keys[0])
	refuses(t, []malformedMessage{
		{"too many roots", compare, bytes.Repeat(text(compareRoot, appendUint(nil, rootKeys, 1)), maxRoots+1), "more than 1024 times"},
		{"short asker", compare, text(compareFrom, digest(3)), "3 bytes, want 16"},
		{"root of a partition too high", compare, text(compareRoot, appendUint(nil, claimPartition, 65536)), "at most 65535"},
		{"too many verdicts", comparisons, text(comparisonVerdicts, digest(maxRoots+1)), "1025 bytes, at most 1024"},
		{"unknown verdict", comparisons, text(comparisonVerdicts, []byte{5}), "verdict 5, at most 4"},
		{"digests of none", comparisons, text(comparisonInner, digest(innerBytes)), "does not differ"},
		{"digests of an equal tree", comparisons, join(text(comparisonVerdicts, []byte{1}), text(comparisonInner, digest(innerBytes))), "does not differ"},
		{"no digests", comparisons, join(text(comparisonVerdicts, []byte{2, 2}), text(comparisonInner, digest(innerBytes))), "no digests of the last 1 trees"},
		{"few digests", comparisons, join(text(comparisonVerdicts, []byte{2}), text(comparisonInner, digest(innerBytes-4))), "124 bytes, want 128"},
		{"sketch cut short", compare, text(compareSketch, digest(sketchBytes-4)), "60 bytes, want 64"},
		{"sketch of no tree", compare, text(compareSketch, digest(sketchBytes)), "1 sketches of 0 trees"},
		{"too many sketches", compare, bytes.Repeat(text(compareSketch, digest(sketchBytes)), maxSketches+1), "more than 64 times"},
		{"leaves of none", comparisons, text(comparisonLeaves, leaf(1)), "tree that is not listed"},
		{"leaves of a tree that differs", comparisons, join(text(comparisonVerdicts, []byte{2}), appendHead(nil, comparisonInner, 0), text(comparisonLeaves, leaf(1))), "tree that is not listed"},
		{"no leaves", comparisons, text(comparisonVerdicts, []byte{4}), "no leaves of the last 1 listed"},
		{"too many leaves listed", comparisons, join(text(comparisonVerdicts, []byte{4}), text(comparisonLeaves, join(leaf(1), leaf(2), leaf(3), leaf(4), leaf(5), leaf(6), leaf(7), leaf(8), leaf(9)))), "9 leaves listed"},
		{"more than is listed", comparisons, join(text(comparisonVerdicts, []byte{4}), text(comparisonLeaves, appendFlag(nil, keysPageMore, true))), "more of them is true"},
		{"listed leaf again", comparisons, join(text(comparisonVerdicts, []byte{4}), text(comparisonLeaves, join(leaf(5), leaf(5)))), "leaf 5 out of order"},
		{"digests are a number", comparisons, join(text(comparisonVerdicts, []byte{2}), appendUint(nil, comparisonInner, 1)), "wire type 0"},
		{"digests of zero written out", comparisons, join(text(comparisonVerdicts, []byte{2}), text(comparisonInner, make([]byte, innerBytes))), "zero value of field 2"},
		{"leaves of no node", keys, text(keysLeaves, digest(4)), "digests of 1 leaves, want 0"},
		{"too few leaves", keys, join(appendUint(nil, keysInner, 5), text(keysLeaves, digest(innerBytes))), "digests of 32 leaves, want 64"},
		{"a leaf cut short", keys, join(appendUint(nil, keysInner, 1), text(keysLeaves, digest(innerBytes-1))), "not a multiple of 4"},
		{"too many leaves", keys, join(appendUint(nil, keysInner, math.MaxUint32), text(keysLeaves, digest(4*merkle.Leaves+4))), "4100 bytes, at most 4096"},
		{"too many nodes", keys, appendUint(nil, keysInner, math.MaxUint32+1), "at most 4294967295"},
		{"position in no leaf", keys, text(keysAfter, appendUint(nil, positionLeaf, merkle.Leaves)), "is 1024, at most 1023"},
		{"empty position written out", keys, appendHead(nil, keysAfter, 0), "zero value of field 6"},
		{"page too large", keys, appendUint(nil, keysMax, maxKeys+1), "at most 16384"},
		{"leaf too high", page, leaf(merkle.Leaves), "is 1024, at most 1023"},
		{"leaf again", page, join(leaf(5), leaf(5)), "leaf 5 out of order"},
		{"leaf before", page, join(leaf(5), leaf(4)), "leaf 4 out of order"},
		{"key without a vector", page, leaf(1, text(leafKey, appendRef(nil, testRef))), "without a vector"},
		{"too many keys", page, join(leaf(1, text(leafKey, key)), leaf(2, bytes.Repeat(text(leafKey, key), maxKeys))), "more than 16384 times"},
		{"too many refs", fetch, bytes.Repeat(text(fetchRef, appendRef(nil, testRef)), maxRefs+1), "more than 4096 times"},
		{"ref without a key", fetch, text(fetchRef, appendText(nil, refBucket, "b")), "without a key"},
		{"entry of nothing", push, appendHead(nil, pushEntry, 0), "without an object"},
		{"count too large", count, appendUint(nil, countCount, math.MaxUint32+1), "at most 4294967295"},
		{"pair without a peer", report, text(reportPair, appendUint(nil, pairPartition, 1)), "without a peer"},
		{"pair of nothing", report, appendHead(nil, reportPair, 0), "without a peer"},
		{"age too long", report, pairOf(appendUint(nil, pairAge, maxAgeMS+1)), "at most"},
		{"holds of 2", report, pairOf(appendUint(nil, pairHolds, 2)), "is 2, at most 1"},
		{"too many tombstones", report, appendUint(nil, reportTombstones, math.MaxInt64+1), "at most"},
		{"too many blockers", report, bytes.Repeat(appendHead(nil, reportBlocker, 0), maxBlockers+1), "more than 4096 times"},
		{"reason too long", report, text(reportBlocker, text(blockerReason, digest(maxMessageBytes+1))), "at most 1024"},
		{"filling too much", report, appendUint(nil, reportFilling, 65537), "at most 65536"},
		{"candidates behind nothing", wanted, appendHead(nil, candidatesAfter, 0), "zero value of field 1"},
		{"too many wanted", wanted, appendUint(nil, candidatesMax, maxKeys+1), "at most 16384"},
		{"candidate of nothing", candidates, appendHead(nil, candidatesPageKey, 0), "without a vector, or what to do"},
		{"key to verify without a vector", verify, text(reapKeys, appendUint(nil, reapReap, 1)), "without a vector, or what to do"},
		{"key to verify without a reap", verify, text(reapKeys, text(reapVector, vector)), "without a vector, or what to do"},
		{"unknown reap", purge, text(reapKeys, appendUint(nil, reapReap, 3)), "is 3, at most 2"},
		{"too many keys to verify", verify, bytes.Repeat(reap, maxKeys+1), "more than 16384 times"},
		{"unknown state", verified, text(verifyStates, []byte{4}), "state 4 of a key, at most 3"},
		{"too many states", verified, text(verifyStates, make([]byte, maxKeys+1)), "16385 bytes, at most 16384"},
		{"too many hint writes", verified, text(verifyHintWrites, make([]byte, maxKeys+1)), "more than 16384 numbers"},
		{"long form of hint writes", verified, text(verifyHintWrites, []byte{0x80, 0x00}), "bad number in field 4"},
		{"hint writes cut short", verified, text(verifyHintWrites, []byte{0x80}), "bad number in field 4"},
		{"an actor cut short", verified, text(verifyActors, digest(9)), "not a multiple of 8"},
		{"too many actors", verified, text(verifyActors, make([]byte, 8*maxActors+8)), "at most 8388608"},
	})
}

// refusalOf is a decoder's error alone.
func refusalOf[T any](decode func([]byte) (T, error)) func([]byte) error {
	return func(b []byte) error {
		_, err := decode(b)
		return err
	}
}

func manyCodes(n int) []byte {
	var b []byte
	for i := range n {
		b = protowire.AppendVarint(b, uint64(i+1))
	}
	return b
}
