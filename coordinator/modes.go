package coordinator

import (
	"errors"
	"fmt"

	"starling/store/bucket"
	"starling/store/bucket/resolve"
	"starling/store/object"
	"starling/store/version"
)

// properties are those of the bucket that is stored under a name, as far as this
// node knows: the defaults for one that nobody declared.
func (c *Coordinator) properties(stored string) bucket.Properties {
	g := c.Buckets()
	if len(g) == 0 {
		return bucket.Properties{}
	}
	name, incarnation, ok := bucket.Split(stored)
	if r := g.Find(name); ok && r.Incarnation == incarnation {
		return r.Properties
	}
	return bucket.Properties{}
}

// makes is what a put becomes at this node, an owner of the key: what the caller
// gave, by the mode of the bucket, within its bounds. A node that does not know
// the mode yet stores what was given, as a sibling: whoever reads it sees what
// the mode makes of all of them.
//
// known are the copies of a counter that may forget increments, if there are any.
func (c *Coordinator) makes(ref object.Ref, req PutRequest, known resolve.Copies) Make {
	p, nowMS := c.properties(ref.Bucket), c.nowMS()
	return func(o object.Object, dot version.Dot) (seen version.Context, s object.Sibling, err error) {
		if req.Increment {
			seen, s, err = resolve.Add(resolve.Compact(o, known), dot, req.Sibling.Op, req.Delta, nowMS)
			s.ExpiresMS = req.Sibling.ExpiresMS
		} else {
			s = req.Sibling
			s.Dot = dot
			seen, s, err = resolve.Put(p.Mode, o, req.Context, s, nowMS)
		}
		if err != nil {
			return version.Context{}, object.Sibling{}, err
		}
		// What a counter remembers has bounds of its own.
		if most := p.MaxValueBytes; most > 0 && !req.Increment && uint64(len(s.Value)) > most && len(s.Value) > len(req.Sibling.Value) {
			return version.Context{}, object.Sibling{}, fmt.Errorf("%w: %d bytes with the values that are there, at most %d", object.ErrTooLarge, len(s.Value), most)
		}
		// What another mode keeps beside a value is not for its reader to resolve.
		if p.MaxSiblings > 0 && p.Mode == bucket.Siblings {
			_, err := o.Update(seen, s, object.Limits{Siblings: int(p.MaxSiblings)})
			if errors.Is(err, object.ErrTooManySiblings) {
				return version.Context{}, object.Sibling{}, err
			}
		}
		return seen, s, nil
	}
}
