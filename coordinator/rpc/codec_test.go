package rpc

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"starling/antientropy"
	"starling/coordinator"
	"starling/gossip/state"
	"starling/ring"
	"starling/store/object"
	"starling/store/version"
)

var update = flag.Bool("update", false, "write the golden files")

// message is one kind of message, without its Go type.
type message struct {
	name   string
	full   any // every field set
	empty  any
	append func(dst []byte, m any) []byte
	decode func(b []byte) (any, error)
}

func messageOf[T any](name string, full T, put func([]byte, T) []byte, decode func([]byte) (T, error)) message {
	var empty T
	return message{
		name: name, full: full, empty: empty,
		append: func(dst []byte, m any) []byte { return put(dst, m.(T)) },
		decode: func(b []byte) (any, error) { return decode(b) },
	}
}

var (
	testRef    = object.Ref{Partition: 1023, Bucket: "birds", Key: "murmuration"}
	testVector = version.Vector{{Actor: 7, Seq: 300}, {Actor: 1 << 63, Seq: 2}}
	testClaims = []antientropy.Claim{{Partition: 1, Stamp: 0x0102030405060708}, {Partition: 65535, Stamp: math.MaxUint64}}
	testObject = object.Object{
		Vector: testVector,
		Siblings: []object.Sibling{{
			Dot: version.Dot{Actor: 7, Seq: 300}, Op: object.OpID{1, 15: 2}, ContentType: "text/plain",
			Meta: []object.Field{{Name: "a", Value: "1"}}, Value: []byte("chirp"), ModifiedMS: 1_700_000_000_000, ExpiresMS: 1_800_000_000_000,
		}, {
			Dot: version.Dot{Actor: 1 << 63, Seq: 2}, Tombstone: true, ModifiedMS: 5,
		}},
	}
	testSizes      = antientropy.SizesRequest{Partitions: []uint32{65535, 0, 3}}
	testSizesReply = antientropy.SizesReply{Bytes: []uint64{0, 1 << 40, math.MaxUint64}}

	nodeA, nodeB = ring.NodeID{0: 0xa0, 15: 1}, ring.NodeID{0: 0xb0, 15: 2}
)

func testContext() version.Context {
	return version.Context{Vector: testVector, Except: []version.Dot{{Actor: 7, Seq: 12}}}
}

func testMap() state.Map {
	m := state.Map{Settings: state.Settings{Cluster: [16]byte{0xc1}, Partitions: 8, Replicas: 3, HashVersion: 1, Secret: [32]byte{5}}}
	return m.With(state.Member{
		ID: nodeA, Name: "n1", RPC: "10.0.0.1:7000", HTTP: "10.0.0.1:8000", Gossip: "10.0.0.1:9000",
		Zone: "z1", Weight: 100, State: state.Active, Boot: 1, Version: state.FirstVersion(1), Settled: state.FullBits(8),
	})
}

func testForward() coordinator.ForwardRequest {
	return coordinator.ForwardRequest{
		Stamp: 99,
		Put: coordinator.PutRequest{
			Bucket: testRef.Bucket, Key: testRef.Key, Context: testContext(), ReadFirst: true, Increment: true, Delta: math.MinInt64,
			Consistency: coordinator.Consistency{Level: coordinator.LevelAny, R: 1, W: 2, PR: 3, PW: 4, Strict: true},
			Sibling: object.Sibling{
				Dot: version.Dot{Actor: 3, Seq: 4}, Op: object.OpID{9}, Tombstone: true, ContentType: "image/png",
				Meta: []object.Field{{Name: "a", Value: "1"}, {Name: "b", Value: "2"}}, Value: []byte{0, 1, 2},
				ModifiedMS: 1_700_000_000_000, ExpiresMS: math.MaxInt64,
			},
		},
	}
}

func testResult(holders ...ring.NodeID) coordinator.PutResult {
	return coordinator.PutResult{
		Context: testContext(), Dot: version.Dot{Actor: 7, Seq: 301}, ModifiedMS: 1_700_000_000_000,
		Acked: 2, Hinted: 1, Required: 3, Coordinator: nodeA, Count: -3,
		Replicas: []coordinator.Receipt{
			{Node: nodeA, Outcome: coordinator.OutcomeAcked, Holder: holders[0]},
			{Node: nodeB, Outcome: coordinator.OutcomeHinted, Holder: holders[1]},
		},
	}
}

// putOf is a forward of the time when there were no increments.
func putOf(q coordinator.ForwardRequest) coordinator.ForwardRequest {
	q.Put.Increment, q.Put.Delta = false, 0
	return q
}

// uncounted is a result of that time.
func uncounted(a coordinator.PutResult) coordinator.PutResult {
	a.Count = 0
	return a
}

func testPull() antientropy.PullRequest {
	return antientropy.PullRequest{Claims: testClaims, After: testRef, MaxBytes: math.MaxUint32}
}

func testPage() antientropy.PullPage {
	return antientropy.PullPage{Done: 2, Entries: []object.Entry{
		{Ref: testRef, Object: testObject},
		{Ref: object.Ref{Partition: 5, Bucket: "b", Key: "k"}, Object: object.Object{Vector: version.Vector{{Actor: 1, Seq: 1}}}},
	}}
}

func testStatus() coordinator.NodeStatus {
	return coordinator.NodeStatus{
		Hints: 3, HintBytes: math.MaxInt64, Draining: true, Pending: ring.MaxPartitions,
		TransferDone: 1 << 40, TransferTotal: math.MaxInt64, Leaving: "12 partitions are still here alone",
	}
}

func testInspectReply() coordinator.InspectReply {
	held := func(hash uint64) coordinator.Copy {
		return coordinator.Copy{Vector: testVector, Hash: hash, Siblings: []coordinator.SiblingInfo{
			{Dot: testVector[0], Bytes: 5, ModifiedMS: 1_700_000_000_000, ExpiresMS: 1_800_000_000_000, Tombstone: true},
			{Dot: testVector[1], Bytes: math.MaxInt32, ModifiedMS: math.MinInt64, ExpiresMS: 1, Tombstone: true},
		}}
	}
	return coordinator.InspectReply{
		Copy: held(1), Leaf: math.MaxUint16, LeafSum: 1 << 60, LeafKeys: math.MaxUint64,
		Hints: []coordinator.HintCopy{{For: nodeA, Copy: held(2)}, {For: nodeB, Copy: held(3)}},
	}
}

// messages are one of each kind, every field set.
func messages() []message {
	return append(slices.Concat(convergeMessages(), batchMessages(), listMessages()),
		messageOf("empty", struct{}{}, func(b []byte, _ struct{}) []byte { return b }, decodeEmpty),
		messageOf("exchange", testMap(), appendMap, decodeMap),
		messageOf("read-request-hints", coordinator.ReadRequest{Ref: testRef, Stamp: 1, Have: 1 << 60, Hints: true}, appendReadRequest, decodeReadRequest),
		messageOf("read-reply", coordinator.ReadReply{Object: testObject, Same: true}, appendReadReply, decodeReadReply),
		messageOf("replicate-request-hint", coordinator.ReplicateRequest{Ref: testRef, Stamp: 1, Object: testObject, For: nodeB}, appendReplicateRequest, decodeReplicateRequest),
		messageOf("forward-request-increment", testForward(), appendForwardRequest, decodeForwardRequest),
		messageOf("forward-reply-count", testResult(nodeB, nodeA), appendPutResult, decodePutResult),
		messageOf("inspect-request", testRef, appendRef, decodeInspectRequest),
		messageOf("inspect-reply", testInspectReply(), appendInspectReply, decodeInspectReply),
		messageOf("status-reply-leaving", testStatus(), appendNodeStatus, decodeNodeStatus),
		messageOf("confirm", testClaims, appendClaims, decodeClaims),
		messageOf("pull-request", testPull(), appendPullRequest, decodePullRequest),
		messageOf("pull-page", testPage(), appendPullPage, decodePullPage),
		messageOf("sizes-request", testSizes, appendSizesRequest, decodeSizesRequest),
		messageOf("sizes-reply", testSizesReply, appendSizesReply, decodeSizesReply),
		messageOf("error", remoteOf(testQuorumError()), recodeError, decodeError),
	)
}

func testQuorumError() error {
	return &coordinator.QuorumError{
		Op: "put", Required: 2, Received: 1, MaybeApplied: true, Timeout: true,
		Causes: []coordinator.ReplicaError{
			{Node: nodeA, Err: coordinator.ErrStaleRing},
			{Node: nodeB, Err: errors.New("something else")},
		},
	}
}

func remoteOf(err error) *RemoteError {
	e, bad := decodeError(appendError(nil, err))
	if bad != nil {
		panic(bad)
	}
	return e
}

// recodeError encodes an error that came from a peer as that peer did.
func recodeError(dst []byte, e *RemoteError) []byte {
	if e == nil {
		return dst
	}
	return e.append(dst)
}

func TestMessagesRoundTrip(t *testing.T) {
	for _, m := range append(messages(), earlier()...) {
		t.Run(m.name, func(t *testing.T) {
			b := m.append([]byte("before"), m.full)
			if !bytes.HasPrefix(b, []byte("before")) {
				t.Fatal("does not append")
			}
			got, err := m.decode(b[len("before"):])
			if err != nil || !reflect.DeepEqual(got, m.full) {
				t.Fatalf("got %+v, %v\nwant %+v", got, err, m.full)
			}
			if m.name == "exchange" || m.name == "error" {
				return // an empty one is not sent
			}
			got, err = m.decode(m.append(nil, m.empty))
			if err != nil || !reflect.DeepEqual(got, m.empty) {
				t.Fatalf("empty: got %+v, %v", got, err)
			}
		})
	}
}

// earlier are messages without the fields that were added later: what a node
// that does not know those sends.
func earlier() []message {
	return []message{
		messageOf("read-request", coordinator.ReadRequest{Ref: testRef, Stamp: 1, Have: 1 << 60}, appendReadRequest, decodeReadRequest),
		messageOf("replicate-request", coordinator.ReplicateRequest{Ref: testRef, Stamp: 1, Object: testObject}, appendReplicateRequest, decodeReplicateRequest),
		messageOf("forward-request", putOf(testForward()), appendForwardRequest, decodeForwardRequest),
		messageOf("forward-reply", uncounted(testResult(ring.NodeID{}, ring.NodeID{})), appendPutResult, decodePutResult),
		messageOf("forward-reply-holder", uncounted(testResult(nodeB, nodeA)), appendPutResult, decodePutResult),
		messageOf("status-reply", coordinator.NodeStatus{Hints: 3, HintBytes: math.MaxInt64, Draining: true}, appendNodeStatus, decodeNodeStatus),
	}
}

// The examples set every field, so a field that is new in a message and
// forgotten in its codec is found here.
func TestExamplesAreFull(t *testing.T) {
	for _, m := range messages() {
		checkFull(t, m.name, reflect.ValueOf(m.full))
	}
}

func checkFull(t *testing.T, path string, v reflect.Value) {
	switch v.Kind() {
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[object.Object]() || v.Type() == reflect.TypeFor[state.Map]() {
			return // they have codecs of their own
		}
		if strings.HasPrefix(v.Type().Name(), "Answer[") {
			return // it has a value or an error
		}
		for i := range v.NumField() {
			f := v.Type().Field(i)
			if !f.IsExported() {
				continue
			}
			if v.Field(i).IsZero() {
				t.Errorf("%s.%s is not set", path, f.Name)
			}
			checkFull(t, path+"."+f.Name, v.Field(i))
		}
	case reflect.Slice:
		for i := range v.Len() {
			checkFull(t, path+"["+string(rune('0'+i))+"]", v.Index(i))
		}
	}
}

func TestGoldenMessages(t *testing.T) {
	for _, m := range append(messages(), earlier()...) {
		golden(t, m.name, m.append(nil, m.full))
	}
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", "golden", name+".hex")
	text := hex.Dump(got)
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if text != string(want) {
		t.Errorf("%s changed: nodes of different versions would not understand each other\ngot:\n%s\nwant:\n%s", name, text, want)
	}
}

// A later version's fields are skipped.
func TestUnknownFieldsAreSkipped(t *testing.T) {
	for _, m := range messages() {
		b := m.append(nil, m.full)
		b = protowire.AppendVarint(protowire.AppendTag(b, 100, protowire.VarintType), 1)
		b = protowire.AppendFixed32(protowire.AppendTag(b, 101, protowire.Fixed32Type), 1)
		b = protowire.AppendFixed64(protowire.AppendTag(b, 102, protowire.Fixed64Type), 1)
		b = protowire.AppendString(protowire.AppendTag(b, 103, protowire.BytesType), "new")
		b = protowire.AppendString(protowire.AppendTag(b, 103, protowire.BytesType), "again")
		got, err := m.decode(b)
		if err != nil || !reflect.DeepEqual(got, m.full) {
			t.Errorf("%s: got %+v, %v", m.name, got, err)
		}
	}
}

// An entry's size is written before the entry.
func TestEntrySize(t *testing.T) {
	for _, e := range append(testPage().Entries,
		object.Entry{Ref: object.Ref{Key: strings.Repeat("k", maxNameBytes)}, Object: testObject},
		object.Entry{Ref: object.Ref{Bucket: strings.Repeat("b", 128)}, Object: testObject}) {
		b := appendObject(appendRef(nil, e.Ref), entryObject, e.Object)
		if got := sizeEntry(e); got != len(b) {
			t.Errorf("%v: %d, want %d", e.Ref, got, len(b))
		}
	}
}

// What the frame is grown by is at least what a message takes.
func TestSizeHints(t *testing.T) {
	q := coordinator.ReplicateRequest{Ref: testRef, Stamp: math.MaxUint64, Object: testObject, For: nodeA}
	if got, want := replicateBytes(q), len(appendReplicateRequest(nil, q)); got < want {
		t.Errorf("replicate: %d of %d", got, want)
	}
	if got, want := entriesBytes(testPage().Entries), len(appendPullPage(nil, testPage())); got < want {
		t.Errorf("page: %d of %d", got, want)
	}
	if got, want := forwardBytes(testForward()), len(appendForwardRequest(nil, testForward())); got < want {
		t.Errorf("forward: %d of %d", got, want)
	}
}

// FuzzMessages feeds every decoder: what it takes encodes to the same bytes,
// or to fewer where unknown fields were skipped, and decodes to the same again.
func FuzzMessages(f *testing.F) {
	all := messages()
	for i, m := range all {
		f.Add(uint8(i), m.append(nil, m.full))
		f.Add(uint8(i), m.append(nil, m.empty))
	}
	f.Fuzz(func(t *testing.T, which uint8, b []byte) {
		m := all[int(which)%len(all)]
		before := slices.Clone(b)
		got, err := m.decode(b)
		if !bytes.Equal(b, before) {
			t.Fatal("the decoder changed its input")
		}
		if err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Fatalf("%s: %v is not ErrMalformed", m.name, err)
			}
			return
		}
		again := m.append(nil, got)
		if len(again) > len(b) || len(again) == len(b) && !bytes.Equal(again, b) {
			t.Fatalf("%s: %x became %x", m.name, b, again)
		}
		twice, err := m.decode(again)
		if err != nil || !reflect.DeepEqual(twice, got) {
			t.Fatalf("%s: %+v became %+v, %v", m.name, got, twice, err)
		}
	})
}
