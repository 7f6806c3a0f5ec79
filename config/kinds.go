package config

import (
	"cmp"
	"fmt"
	"log/slog"
	"math/bits"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// kind is a type of value: how it is read from text and written back.
type kind[T any] struct {
	label, allowed string
	parse          func(text string) (v T, ok bool)
	format         func(v T) string
}

const (
	maxLabelBytes   = 64
	maxAddressBytes = 128 // the addresses travel in one gossip packet
	maxAddresses    = 64
)

func verbatim(s string) string { return s }

// label is a name of letters, digits, dots, underscores and dashes.
func label(mayBeEmpty bool) kind[string] {
	least := 1
	if mayBeEmpty {
		least = 0
	}
	return kind[string]{
		label: "name", allowed: fmt.Sprintf("%d to %d of A-Z a-z 0-9 . _ -", least, maxLabelBytes), format: verbatim,
		parse: func(s string) (string, bool) {
			bad := strings.IndexFunc(s, func(r rune) bool { return !isLabelRune(r) })
			return s, bad < 0 && len(s) >= least && len(s) <= maxLabelBytes
		},
	}
}

func isLabelRune(r rune) bool {
	return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("._-", r)
}

func path() kind[string] {
	return kind[string]{label: "path", allowed: "a path", format: verbatim,
		parse: func(s string) (string, bool) { return s, s != "" && !strings.ContainsRune(s, 0) }}
}

// listenAddress may have an empty or unspecified host, or port 0.
func listenAddress() kind[string] {
	return kind[string]{label: "host:port", allowed: "host:port, for example 127.0.0.1:4700", format: verbatim,
		parse: func(s string) (string, bool) {
			_, _, ok := splitAddress(s)
			return s, ok
		}}
}

// peerAddress must be of use to another machine.
func peerAddress() kind[string] {
	return kind[string]{label: "host:port", allowed: "host:port with a host that others can reach", format: verbatim,
		parse: func(s string) (string, bool) {
			host, _, ok := splitAddress(s)
			return s, ok && !isUnspecified(host)
		}}
}

func peerAddresses() kind[[]string] {
	one := peerAddress()
	return kind[[]string]{
		label: "host:port,…", allowed: fmt.Sprintf("at most %d of host:port, separated by commas", maxAddresses),
		format: func(v []string) string { return strings.Join(v, ",") },
		parse: func(s string) ([]string, bool) {
			var out []string
			for part := range strings.SplitSeq(s, ",") {
				if part = strings.TrimSpace(part); part == "" {
					continue // a trailing comma, or an empty list
				}
				addr, ok := one.parse(part)
				if _, port, _ := splitAddress(addr); !ok || port == 0 {
					return nil, false
				}
				out = append(out, addr)
			}
			return out, len(out) <= maxAddresses
		},
	}
}

func splitAddress(s string) (host string, port uint16, ok bool) {
	host, text, err := net.SplitHostPort(s)
	if err != nil || len(s) > maxAddressBytes || strings.ContainsAny(host, " /@,") {
		return "", 0, false
	}
	n, err := strconv.ParseUint(text, 10, 16)
	return host, uint16(n), err == nil
}

// isUnspecified says whether the host means every address of a machine.
func isUnspecified(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "" || err == nil && addr.IsUnspecified()
}

func choice(words ...string) kind[string] {
	return kind[string]{label: strings.Join(words, "|"), allowed: orList(words), format: verbatim,
		parse: func(s string) (string, bool) {
			for _, w := range words {
				if s == w {
					return s, true
				}
			}
			return "", false
		}}
}

func orList(words []string) string {
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " or " + words[last]
}

func boolean() kind[bool] {
	return kind[bool]{label: "true|false", allowed: "true or false", format: strconv.FormatBool,
		parse: func(s string) (bool, bool) {
			v, err := strconv.ParseBool(s)
			return v, err == nil
		}}
}

var logLevels = []slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError}

func logLevel() kind[slog.Level] {
	format := func(l slog.Level) string { return strings.ToLower(l.String()) }
	words := make([]string, len(logLevels))
	for i, l := range logLevels {
		words[i] = format(l)
	}
	return kind[slog.Level]{label: strings.Join(words, "|"), allowed: orList(words), format: format,
		parse: func(s string) (slog.Level, bool) {
			for i, w := range words {
				if s == w {
					return logLevels[i], true
				}
			}
			return 0, false
		}}
}

func number[T int | uint32](least, most T) kind[T] {
	return kind[T]{label: "number", allowed: fmt.Sprintf("%d to %d", least, most),
		format: func(v T) string { return fmt.Sprint(v) },
		parse: func(s string) (T, bool) {
			n, err := strconv.ParseInt(s, 10, 64)
			return T(n), err == nil && within(n, int64(least), int64(most))
		}}
}

func powerOfTwo(most int) kind[int] {
	k := number(1, most)
	k.allowed = fmt.Sprintf("a power of two from 1 to %d", most)
	parse := k.parse
	k.parse = func(s string) (int, bool) {
		n, ok := parse(s)
		return n, ok && bits.OnesCount(uint(n)) == 1
	}
	return k
}

func within[T cmp.Ordered](v, least, most T) bool { return least <= v && v <= most }

func duration(least, most time.Duration) kind[time.Duration] {
	return kind[time.Duration]{
		label: "duration", allowed: fmt.Sprintf("a duration from %s to %s", formatDuration(least), formatDuration(most)),
		format: formatDuration,
		parse: func(s string) (time.Duration, bool) {
			d, err := time.ParseDuration(s)
			return d, err == nil && within(d, least, most)
		},
	}
}

// formatDuration is [time.Duration.String] without zero minutes and seconds.
func formatDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// units are the suffixes of sizes, the longer ones first so that "B" does not
// end a search for "KiB".
var units = []struct {
	suffix string
	bytes  int64
}{
	{"KiB", kib}, {"MiB", mib}, {"GiB", gib}, {"TiB", tib},
	{"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12},
	{"B", 1},
}

func size(least, most int64) kind[int64] {
	return kind[int64]{
		label: "size", allowed: fmt.Sprintf("%s to %s, as bytes or with a unit such as KiB or MB", formatSize(least), formatSize(most)),
		format: formatSize,
		parse: func(s string) (int64, bool) {
			n, ok := ParseSize(s)
			return n, ok && within(n, least, most)
		},
	}
}

// ParseSize reads a number of bytes, 0 or more, with or without a unit: KiB to
// TiB, KB to TB, or B.
func ParseSize(s string) (bytes int64, ok bool) {
	unit := int64(1)
	for _, u := range units {
		if digits, ok := strings.CutSuffix(s, u.suffix); ok {
			s, unit = strings.TrimSpace(digits), u.bytes
			break
		}
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 || n > (1<<62)/unit {
		return 0, false
	}
	return n * unit, true
}

// formatSize uses the largest binary unit that loses nothing.
func formatSize(n int64) string {
	for _, u := range []int{3, 2, 1, 0} {
		if n != 0 && n%units[u].bytes == 0 {
			return strconv.FormatInt(n/units[u].bytes, 10) + units[u].suffix
		}
	}
	return strconv.FormatInt(n, 10)
}
