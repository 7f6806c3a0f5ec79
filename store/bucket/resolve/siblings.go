package resolve

import (
	"bytes"
	"cmp"
	"slices"

	"starling/store/object"
	"starling/store/version"
)

// dead reports whether nobody reads a sibling any more.
func dead(s *object.Sibling, nowMS int64) bool { return s.Tombstone || s.Expired(nowMS) }

// restamps reports whether two siblings are one put that was stamped twice. The
// value takes part because each stamping may have had other values folded into it.
func restamps(s, t *object.Sibling) bool {
	return s.Op == t.Op && !s.Op.IsZero() && bytes.Equal(s.Value, t.Value)
}

// living are the siblings that are not dead: the list itself if all are.
func living(siblings []object.Sibling, nowMS int64) []object.Sibling {
	return keep(siblings, func(i int) bool { return !dead(&siblings[i], nowMS) })
}

// distinct leaves out those that restamp an earlier one.
func distinct(siblings []object.Sibling) []object.Sibling {
	return keep(siblings, func(i int) bool { return !restampsAny(siblings[:i], &siblings[i]) })
}

func restampsAny(earlier []object.Sibling, s *object.Sibling) bool {
	if s.Op.IsZero() {
		return false
	}
	return slices.ContainsFunc(earlier, func(e object.Sibling) bool { return restamps(&e, s) })
}

// keep is the list of those that wanted holds for, or the list itself.
func keep(siblings []object.Sibling, wanted func(i int) bool) []object.Sibling {
	for i := range siblings {
		if wanted(i) {
			continue
		}
		out := slices.Clone(siblings[:i])
		for j := i + 1; j < len(siblings); j++ {
			if wanted(j) {
				out = append(out, siblings[j])
			}
		}
		return out
	}
	return siblings
}

// byAge orders siblings by their stamps, and equal ones by their dots.
func byAge(s, t *object.Sibling) int {
	return cmp.Or(cmp.Compare(s.ModifiedMS, t.ModifiedMS), s.Dot.Compare(t.Dot))
}

// newer is the newer of two siblings, with the later expiry of both.
func newer(s, t object.Sibling) object.Sibling {
	expiresMS := laterExpiry(s.ExpiresMS, t.ExpiresMS)
	if byAge(&t, &s) > 0 {
		s = t
	}
	s.ExpiresMS = expiresMS
	return s
}

// laterExpiry is the later of two expiries; 0, never, is the latest.
func laterExpiry(aMS, bMS int64) int64 {
	if aMS == 0 || bMS == 0 {
		return 0
	}
	return max(aMS, bMS)
}

// superseding covers what c covers and all siblings of o but those that are kept.
func superseding(o object.Object, c version.Context, kept []version.Dot) version.Context {
	return c.Union(version.Without(o.Vector, kept))
}
