package rpc

import (
	"bytes"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

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
	status := func(b []byte) error { _, err := decodeNodeStatus(b); return err }
	held := func(b []byte) []byte { return text(inspectCopy, string(b)) }
	sibling := func(b []byte) []byte { return held(text(copySibling, string(b))) }
	dot := text(siblingDot, string(version.AppendDot(nil, version.Dot{Actor: 1, Seq: 1})))
	remote := func(b []byte) error { _, err := decodeError(b); return err }
	for _, c := range []struct {
		name   string
		decode func([]byte) error
		in     []byte
		want   string
	}{
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
		{"too many claims", claims, bytes.Repeat(tag(claimsClaim, protowire.BytesType, 0), ring.MaxPartitions+1), "more than 65536 times"},
		{"claim is a number", claims, tag(claimsClaim, protowire.VarintType, 1), "wire type 0"},
		{"entry without an object", page, text(pageEntry, string(text(refKey, "k"))), "without an object"},
		{"bad object", page, text(pageEntry, string(text(entryObject, "x"))), "field 4"},
		{"absent object written out", page, text(pageEntry, string(text(entryObject, "\x01"))), "zero value of field 4"},
		{"no map", exchange, nil, "no map"},
		{"bad map", exchange, text(exchangeMap, "x"), "malformed"},
		{"codes out of order", remote, text(errorCodes, "\x02\x01"), "code 1 out of order"},
		{"code 0", remote, text(errorCodes, "\x00"), "code 0"},
		{"too many codes", remote, text(errorCodes, string(manyCodes(maxCodes+1))), "more than 64 codes"},
		{"two quorums", remote, bytes.Repeat(tag(errorQuorum, protowire.BytesType, 0), 2), "field 5 twice"},
		{"message too long", remote, text(errorMessage, strings.Repeat("x", maxMessageBytes+1)), "at most 1024"},
	} {
		err := c.decode(c.in)
		if !errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", c.name, err, c.want)
		}
	}
}

func manyCodes(n int) []byte {
	var b []byte
	for i := range n {
		b = protowire.AppendVarint(b, uint64(i+1))
	}
	return b
}
