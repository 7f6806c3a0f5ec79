package version

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
)

const (
	tokenVersion = 1
	macBytes     = 16

	maxDotBytes  = 8 + binary.MaxVarintLen64
	maxBodyBytes = 2 + MaxEntries*maxDotBytes + 2 + MaxExcept*maxDotBytes
	maxRawBytes  = 1 + maxBodyBytes + macBytes
)

// MaxTokenBytes is the length of the longest token that [Seal] makes and
// [Open] reads. A token about three replicas has about 70 bytes.
const MaxTokenBytes = (maxRawBytes*8 + 5) / 6

// ErrToken is wrapped by every error of [Open].
var ErrToken = errors.New("version: bad context token")

// tokenEncoding refuses loose bits at the end, so that a context has one token.
var tokenEncoding = base64.RawURLEncoding.Strict()

// Seal makes the opaque token of c for one key: base64url, without padding,
// of a version byte, the encoding of c and a MAC under the secret that all
// members of a cluster share. A context with more than [MaxEntries] entries
// or [MaxExcept] exceptions is sealed as one that has seen less.
func Seal(secret []byte, bucket, key string, c Context) string {
	c = c.narrowed()
	raw := make([]byte, 0, 1+SizeContext(c)+macBytes)
	raw = AppendContext(append(raw, tokenVersion), c)
	raw = append(raw, tokenMAC(secret, bucket, key, raw)...)
	return tokenEncoding.EncodeToString(raw)
}

// Open reads a token that [Seal] made with the same secret, bucket and key.
// The empty token is the empty context. The errors wrap [ErrToken] and say
// what is wrong and what to do; they hold nothing secret and nothing of the
// token.
func Open(secret []byte, bucket, key, token string) (Context, error) {
	if token == "" {
		return Context{}, nil
	}
	if len(token) > MaxTokenBytes {
		return Context{}, fmt.Errorf("%w: too long: %d bytes, at most %d; pass on a token exactly as it was received",
			ErrToken, len(token), MaxTokenBytes)
	}
	raw, err := tokenEncoding.DecodeString(token)
	// The decoder skips line breaks: a token that holds some is too short.
	if err != nil || len(raw) != tokenEncoding.DecodedLen(len(token)) {
		return Context{}, malformed("not base64url")
	}
	if len(raw) < 1+2+macBytes {
		return Context{}, malformed("too short")
	}
	if raw[0] != tokenVersion {
		return Context{}, fmt.Errorf("%w: unknown version %d; a newer node may have issued it: read the key again",
			ErrToken, raw[0])
	}
	signed, mac := raw[:len(raw)-macBytes], raw[len(raw)-macBytes:]
	if !hmac.Equal(mac, tokenMAC(secret, bucket, key, signed)) {
		return Context{}, fmt.Errorf("%w: was not issued for this key; pass the token of the latest answer about this very key in this cluster",
			ErrToken)
	}
	c, rest, err := DecodeContext(signed[1:])
	if err != nil || len(rest) != 0 {
		return Context{}, malformed("its content cannot be read")
	}
	return c, nil
}

func malformed(reason string) error {
	return fmt.Errorf("%w: malformed: %s; pass on a token exactly as it was received", ErrToken, reason)
}

// tokenMAC authenticates the version byte and body in signed for one key.
// Bucket and key go in with their lengths: keys may hold any byte, and without
// a length a token for the key "k" + x would also be one for the key "k" with
// x in front of its body.
func tokenMAC(secret []byte, bucket, key string, signed []byte) []byte {
	m := hmac.New(sha256.New, secret)
	var n [16]byte
	binary.BigEndian.PutUint64(n[:8], uint64(len(bucket)))
	binary.BigEndian.PutUint64(n[8:], uint64(len(key)))
	m.Write(n[:])
	m.Write([]byte(bucket))
	m.Write([]byte(key))
	m.Write(signed)
	return m.Sum(nil)[:macBytes]
}
