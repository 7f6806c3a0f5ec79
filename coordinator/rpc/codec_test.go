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
			Bucket: testRef.Bucket, Key: testRef.Key, Context: testContext(), ReadFirst: true,
			Consistency: coordinator.Consistency{Level: coordinator.LevelAny, R: 1, W: 2, PR: 3, PW: 4, Strict: true},
			Sibling: object.Sibling{
				Dot: version.Dot{Actor: 3, Seq: 4}, Op: object.OpID{9}, Tombstone: true, ContentType: "image/png",
				Meta: []object.Field{{Name: "a", Value: "1"}, {Name: "b", Value: "2"}}, Value: []byte{0, 1, 2},
				ModifiedMS: 1_700_000_000_000, ExpiresMS: math.MaxInt64,
			},
		},
	}
}

func testResult() coordinator.PutResult {
	return coordinator.PutResult{
		Context: testContext(), Dot: version.Dot{Actor: 7, Seq: 301}, ModifiedMS: 1_700_000_000_000,
		Acked: 2, Hinted: 1, Required: 3, Coordinator: nodeA,
		Replicas: []coordinator.Receipt{{Node: nodeA, Outcome: coordinator.OutcomeAcked}, {Node: nodeB, Outcome: coordinator.OutcomeHinted}},
	}
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

// messages are all messages but for the error, which is not its own inverse.
func messages() []message {
	return []message{
		messageOf("empty", struct{}{}, func(b []byte, _ struct{}) []byte { return b }, decodeEmpty),
		messageOf("exchange", testMap(), appendMap, decodeMap),
		messageOf("read-request", coordinator.ReadRequest{Ref: testRef, Stamp: 1, Have: 1 << 60}, appendReadRequest, decodeReadRequest),
		messageOf("read-reply", coordinator.ReadReply{Object: testObject, Same: true}, appendReadReply, decodeReadReply),
		messageOf("replicate-request", coordinator.ReplicateRequest{Ref: testRef, Stamp: 1, Object: testObject}, appendReplicateRequest, decodeReplicateRequest),
		messageOf("forward-request", testForward(), appendForwardRequest, decodeForwardRequest),
		messageOf("forward-reply", testResult(), appendPutResult, decodePutResult),
		messageOf("confirm", testClaims, appendClaims, decodeClaims),
		messageOf("pull-request", testPull(), appendPullRequest, decodePullRequest),
		messageOf("pull-page", testPage(), appendPullPage, decodePullPage),
		messageOf("error", remoteOf(testQuorumError()), recodeError, decodeError),
	}
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
	for _, m := range messages() {
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
	for _, m := range messages() {
		b := m.append(nil, m.full)
		golden(t, m.name, b)
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
	q := coordinator.ReplicateRequest{Ref: testRef, Stamp: math.MaxUint64, Object: testObject}
	if got, want := refBytes(q.Ref)+q.Object.Size()+32, len(appendReplicateRequest(nil, q)); got < want {
		t.Errorf("replicate: %d of %d", got, want)
	}
	if got, want := pageBytes(testPage()), len(appendPullPage(nil, testPage())); got < want {
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
