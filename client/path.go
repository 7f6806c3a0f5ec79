package client

import "strings"

const hexDigits = "0123456789ABCDEF"

// EscapeKey writes a key as one path segment that decodes to exactly its
// bytes. Slashes are escaped, and so are the dots of "." and ".." wherever
// they stand between slashes: otherwise a library or a proxy on the way would
// take them for steps in a tree and resolve them. Put it into a URL by way of
// RawPath, or by parsing the whole URL.
func EscapeKey(key string) string {
	var b strings.Builder
	b.Grow(len(key) + 16)
	for i, segment := range strings.Split(key, "/") {
		if i > 0 {
			b.WriteString("%2F")
		}
		dots := segment == "." || segment == ".."
		for j := range len(segment) {
			c := segment[j]
			if alphanumeric(c) || c == '-' || c == '_' || c == '~' || c == '.' && !dots {
				b.WriteByte(c)
				continue
			}
			b.WriteByte('%')
			b.WriteByte(hexDigits[c>>4])
			b.WriteByte(hexDigits[c&15])
		}
	}
	return b.String()
}
