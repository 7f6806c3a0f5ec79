package antientropy

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"starling/store/object"
)

// A peer that answers nonsense is left alone, and nothing of it is merged.
func TestForgedAnswersAreRefused(t *testing.T) {
	stranger := object.Ref{Bucket: "b", Key: "stranger"}
	onKeys := func(change func(p *KeysPage)) func(any) {
		onPage := func(p *KeysPage) {
			// Leaves that have no keys at the peer are listed too.
			p.Leaves = slices.DeleteFunc(p.Leaves, func(l LeafKeys) bool { return len(l.Keys) == 0 })
			change(p)
		}
		return func(a any) {
			onAnswer(a, onPage)
			onAnswer(a, func(answers *[]Comparison) {
				for i := range *answers {
					if c := &(*answers)[i]; c.Verdict == VerdictListed {
						page := KeysPage{Leaves: c.Leaves}
						onPage(&page)
						c.Leaves = page.Leaves
					}
				}
			})
		}
	}
	for name, forge := range map[string]func(answer any){
		"no verdicts":         func(a any) { onAnswer(a, func(v *[]Comparison) { *v = nil }) },
		"too many verdicts":   func(a any) { onAnswer(a, func(v *[]Comparison) { *v = append(*v, *v...) }) },
		"unknown verdict":     func(a any) { onAnswer(a, func(v *[]Comparison) { (*v)[0].Verdict = 200 }) },
		"more and no key":     onKeys(func(p *KeysPage) { *p = KeysPage{More: true} }),
		"leaf out of range":   onKeys(func(p *KeysPage) { p.Leaves[len(p.Leaves)-1].Leaf = 5000 }),
		"leaves unordered":    onKeys(func(p *KeysPage) { slices.Reverse(p.Leaves) }),
		"key twice":           onKeys(func(p *KeysPage) { p.Leaves[0].Keys = append(p.Leaves[0].Keys, p.Leaves[0].Keys...) }),
		"other partition":     onKeys(func(p *KeysPage) { p.Leaves[0].Keys[0].Ref.Partition = 9 }),
		"no progress":         func(a any) { onAnswer(a, func(p *FetchPage) { *p = FetchPage{} }) },
		"more than asked":     func(a any) { onAnswer(a, func(p *FetchPage) { p.Done = 1 << 31 }) },
		"unasked object":      func(a any) { onAnswer(a, func(p *FetchPage) { p.Entries[0].Ref = stranger }) },
		"object twice":        func(a any) { onAnswer(a, func(p *FetchPage) { p.Entries = append(p.Entries, p.Entries[0]) }) },
		"pushes that were no": func(a any) { onAnswer(a, func(n *uint32) { *n = 1 << 31 }) },
	} {
		for _, keys := range []int{6, 20} { // 20 are too many to be listed
			t.Run(fmt.Sprint(name, " ", keys), func(t *testing.T) {
				inExCluster(t, 2, 1, 2, ExchangerOptions{Enabled: true}, func(t *testing.T, c *exCluster) {
					for k := range keys {
						ref := c.ref(fmt.Sprint("key-", k))
						_, _ = c.nodes[k%2].store.merge(ref, exPut(t, object.Object{}, 1, 1, 10))
					}
					c.forge = forge
					c.start()
					time.Sleep(2 * time.Minute)
					for _, n := range c.nodes {
						if all := n.store.all(); len(all[stranger].Siblings) > 0 {
							t.Fatal("an object was merged that was not asked for")
						}
					}
					if c.log().calls["compare"] > 2000 {
						t.Fatalf("%v: no pause after a failure", c.log().calls)
					}
				})
			})
		}
	}
}

// onAnswer changes an answer if it is of that type.
func onAnswer[A any](answer any, change func(*A)) {
	if a, ok := answer.(*A); ok {
		change(a)
	}
}
