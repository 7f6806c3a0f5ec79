package rpc

import (
	"context"
	"math"
	"reflect"
	"strings"
	"testing"

	"starling/coordinator"
	"starling/ring"
	"starling/store/object"
	"starling/store/version"
)

func (n *fakeNode) HandleList(ctx context.Context, q coordinator.ScanRequest) (coordinator.ScanReply, error) {
	return n.list(ctx, q)
}

func testScan() coordinator.ScanRequest {
	return coordinator.ScanRequest{
		Bucket: "birds", Prefix: "m", After: "mur\xff", Values: true,
		Claims: []coordinator.ListClaim{{Partition: 1, Stamp: 0x0102030405060708}, {Partition: 65535, Stamp: math.MaxUint64}},
		Limit:  101, MaxRows: math.MaxUint32, MaxBytes: 4 << 20,
	}
}

func testScanned() coordinator.ScanReply {
	return coordinator.ScanReply{
		Done: true, UpTo: "murmur", Refused: []uint32{7, 65535},
		Rows: []object.Entry{
			{Ref: object.Ref{Partition: 1, Bucket: "b", Key: "murmuration"}, Object: testObject},
			{Ref: object.Ref{Partition: 1, Bucket: "b", Key: "n"}, Object: object.Object{Vector: version.Vector{{Actor: 1, Seq: 1}}}},
		},
	}
}

func listMessages() []message {
	return []message{
		messageOf("list-request", testScan(), appendScanRequest, decodeScanRequest),
		messageOf("list-reply", testScanned(), appendScanReply, decodeScanReply),
	}
}

func TestMalformedListMessages(t *testing.T) {
	request := func(b []byte) error { _, err := decodeScanRequest(b); return err }
	reply := func(b []byte) error { _, err := decodeScanReply(b); return err }
	claims := func(partitions []uint32, stamps ...uint64) []byte {
		return appendPacked64(appendPacked32(nil, listPartitions, partitions), listStamps, stamps)
	}
	refuses(t, []malformedMessage{
		{"bucket too long", request, appendText(nil, listBucket, strings.Repeat("b", maxNameBytes+1)), "at most 4096"},
		{"a stamp too few", request, claims([]uint32{1, 2}, 1), "1 stamps of 2 partitions"},
		{"stamps alone", request, claims(nil, 1), "1 stamps of 0 partitions"},
		{"partition twice", request, claims([]uint32{1, 1}, 1, 1), "partition 1 out of order"},
		{"partitions backwards", request, claims([]uint32{2, 1}, 1, 1), "partition 1 out of order"},
		{"partition too high", request, claims([]uint32{ring.MaxPartitions}, 1), "partition 65536 out of order"},
		{"half a stamp", request, appendText(nil, listStamps, "1234"), "not a multiple of 8"},
		{"too many partitions", request, appendText(nil, listPartitions, strings.Repeat("\x00", 4*ring.MaxPartitions+4)), "at most"},
		{"limit too high", request, appendUint(nil, listLimit, math.MaxUint32+1), "at most"},
		{"row without an object", reply, appendText(nil, listRow, string(appendText(nil, refKey, "k"))), "without an object"},
		{"done twice", reply, append(appendFlag(nil, listDone, true), appendFlag(nil, listDone, true)...), "twice"},
		{"refused backwards", reply, appendPacked32(nil, listRefused, []uint32{2, 1}), "partition 1 out of order"},
	})
}

func TestListTravels(t *testing.T) {
	n := &fakeNode{list: func(_ context.Context, q coordinator.ScanRequest) (coordinator.ScanReply, error) {
		same(t, q, testScan())
		return testScanned(), nil
	}}
	caller, _, _ := pair(t, n)
	got, err := caller.List(short(t), nodeB, testScan())
	if err != nil || !reflect.DeepEqual(got, testScanned()) {
		t.Errorf("%+v, %v", got, err)
	}
	n.list = func(context.Context, coordinator.ScanRequest) (coordinator.ScanReply, error) {
		return coordinator.ScanReply{}, coordinator.ErrOverloaded
	}
	_, err = caller.List(short(t), nodeB, testScan())
	certain(t, err)
	wantErr(t, err, coordinator.ErrOverloaded)
}

// What the frame is grown by is at least what the messages take.
func TestListSizeHints(t *testing.T) {
	if got, want := scanBytes(testScan()), len(appendScanRequest(nil, testScan())); got < want {
		t.Errorf("request: %d of %d", got, want)
	}
	a := testScanned()
	if got, want := scannedBytes(a), len(appendScanReply(nil, a)); got < want {
		t.Errorf("reply: %d of %d", got, want)
	}
}
