package topology

import (
	"fmt"
	"strings"

	"starling/gossip/state"
	"starling/ring"
)

// listed bounds the names, and the numbers, that one sentence has.
const listed = 8

// label is what people call the member.
func label(r state.Member) string {
	if r.Name == "" {
		return r.ID.String()
	}
	return r.Name
}

// labelOf is the label of the ID's record.
func labelOf(m state.Map, id ring.NodeID) string {
	r, ok := m.Member(id)
	if !ok {
		return id.String()
	}
	return label(r)
}

// count is "1 partition" or "12 partitions".
func count(n int, noun string) string {
	switch {
	case n == 1:
		return "1 " + noun
	case strings.HasSuffix(noun, "y"):
		return fmt.Sprintf("%d %sies", n, strings.TrimSuffix(noun, "y"))
	default:
		return fmt.Sprintf("%d %ss", n, noun)
	}
}

// none is count with a word for zero.
func none(n int, noun string) string {
	if n == 0 {
		return "no " + noun
	}
	return count(n, noun)
}

// verb is the form that goes with n things.
func verb(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}

// list is "a", "a and b" or "a, b and c"; what is too long ends with "and 17 more".
func list[T any](items []T) string {
	texts := make([]string, 0, listed+1)
	for i, item := range items {
		if i == listed && len(items) > listed+1 {
			texts = append(texts, fmt.Sprintf("%d more", len(items)-listed))
			break
		}
		texts = append(texts, fmt.Sprint(item))
	}
	if len(texts) < 2 {
		return strings.Join(texts, "")
	}
	last := len(texts) - 1
	return strings.Join(texts[:last], ", ") + " and " + texts[last]
}

// are is the list of names and the verb that goes with it: "n4 is", "n4 and n5 are".
func are(names []string) string { return list(names) + verb(len(names), " is", " are") }

// have is are for the other verb.
func have(names []string) string { return list(names) + verb(len(names), " has", " have") }
