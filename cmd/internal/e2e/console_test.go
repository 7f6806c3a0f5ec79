package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// The console shows what happens to a real cluster: a key that gets siblings,
// and one value again; a node that goes down, hints that wait for it, and its
// return; a node that joins.
func TestConsole(t *testing.T) {
	t.Parallel()
	b := browse(t)
	c := up(t, 5, "STARLING_ANTIENTROPY_INTERVAL=1s")
	b.visit(c.url(1, "/"))
	b.see("that all is well", text("#headline", "All is well."))
	b.see("a ring of five nodes", text(".ring .heart", "5 of 5"))
	b.see("each node's pieces", `new Set([...document.querySelectorAll('.ring .piece')].map(e => [...e.classList].find(c => c.startsWith('of-')))).size === 5`)
	b.see("five nodes up", `document.querySelectorAll('.node-list .tag.ok').length === 5`)
	b.see("how old it is", text("#live", "updated"))
	b.shots("healthy")

	consoleResolves(b, c)
	consoleShowsLoss(b, c, 3)
	consoleShowsJoin(b, c)
	consoleMapsConvergence(b)
	b.wantQuiet()
	// What the test would not notice would not be quiet either.
	b.eval("document.body.setAttribute('style', 'color: red')", nil)
	if list := b.taken(); len(list) != 1 || !strings.Contains(list[0], "style-src") {
		t.Errorf("an inline style is not complained of: %q", list)
	}
}

// consoleResolves writes keys by the form, and resolves siblings with it.
func consoleResolves(b *browser, c *cluster) {
	b.t.Helper()
	b.click("nav [data-view=keys]")
	odd := "a/../ü %2F?#&+"
	for _, key := range []string{odd, "cart/17"} {
		b.fill("#bucket", "b")
		b.fill("#key", key)
		b.click("#read")
		b.see("that there is no value of "+key, text("#found", "The key has no value."))
		b.fill("#value", "first of "+key)
		b.click("#write")
		b.see("that "+key+" is written", `/Written\. [23] owners have it on disk; 2 were required/.test(document.querySelector('#result').innerText)`)
		b.see("who coordinated it", text("#result", "Coordinated by n"))
	}
	if a := c.do(200, "GET", 2, keys+"a/../%C3%BC%20%252F%3F%23%26%2B", ""); string(a.body) != "first of "+odd {
		b.t.Errorf("under the key %q there is %q", odd, a.body)
	}
	consoleKeepsBytes(b, c)
	b.see("the keys of the bucket", `document.querySelectorAll('.key-list a').length === 3`)
	b.wantQuiet("404") // of keys that had no value
	b.fill("#key", "cart/17")

	seen := c.do(200, "GET", 1, keys+"cart/17", "")
	for i, value := range []string{`{"items": ["tea", "sugar"]}`, `{"items": ["tea", "lemon"]}`} {
		c.do(204, "PUT", i+1, keys+"cart/17?consistency=all", value, "X-Starling-Context", seen.context(), "Content-Type", "application/json")
	}
	b.click("#read")
	b.see("two siblings", `document.querySelectorAll('.sibling').length === 2`)
	b.see("one of them", text("#found", `["tea", "sugar"]`))
	b.see("the other", text("#found", `["tea", "lemon"]`))
	b.see("that the copies agree", text("#explanation .tag.ok", "copies agree"))
	b.see("three owners", `document.querySelectorAll('#explanation tbody tr').length === 3`)
	b.shots("siblings")
	b.click(".sibling:nth-child(2) button")
	b.see("the one that was chosen", `document.querySelector('#value').value === document.querySelector('.sibling:nth-child(2) pre').innerText`)
	merged := `{"items": ["tea", "sugar", "lemon"]}`
	b.fill("#value", merged)
	b.click("#write")
	b.see("that it is written", text("#result", "Written."))
	b.see("no siblings any more", `document.querySelectorAll('.sibling').length === 0`)
	if a := c.do(200, "GET", 3, keys+"cart/17", ""); string(a.body) != merged || a.Header.Get("Content-Type") != "application/json" {
		b.t.Errorf("after the siblings were resolved: %q", a.body)
	}
	b.click("#delete")
	b.see("a question", text("#delete", "Delete it now?"))
	b.click("#delete")
	b.see("that it is deleted", text("#result", "Deleted."))
	c.do(404, "GET", 3, keys+"cart/17", "")
	b.see("that there is no value", text("#found", "The key has no value."))
	b.wantQuiet("404")
}

// consoleKeepsBytes writes a key and a value that are no text, and leaves the
// form as it was.
func consoleKeepsBytes(b *browser, c *cluster) {
	b.t.Helper()
	b.pick("#key-form", "base64")
	b.fill("#key", "/wAN")
	b.pick("#level", "all")
	b.click("#read")
	b.see("that there is no value", `/no value.*3 owners answered/s.test(document.querySelector("#found").innerText)`)
	b.pick("#value-form", "base64")
	b.fill("#value", "AAH+/w0K")
	b.click("#write")
	b.see("that it is written to all", text("#result", "Written. 3 owners have it on disk; 3 were required."))
	if a := c.do(200, "GET", 2, keys+"%FF%00%0D", ""); string(a.body) != "\x00\x01\xfe\xff\r\n" {
		b.t.Errorf("of a value in base64 there is %q", a.body)
	}
	b.see("it in base64 again", `document.querySelector('#value').value === 'AAH+/w0K' && document.querySelector('#value-form').value === 'base64'`)
	b.pick("#key-form", "text")
	b.pick("#level", "")
}

// consoleShowsLoss kills node i, writes while it is down, and starts it again.
func consoleShowsLoss(b *browser, c *cluster, i int) {
	b.t.Helper()
	name := fmt.Sprintf("n%d", i)
	b.click("nav [data-view=overview]")
	c.run("kill", fmt.Sprint(i))
	b.see("that it is down", text("#headline", name+" is down as seen from n1."))
	for k := range 60 {
		c.do(204, "PUT", 1, fmt.Sprint(keys, "while-down-", k), strings.Repeat("x", 100))
	}
	b.see("hints", `/\d+ writes wait as hints/.test(document.querySelector('#points').innerText)`)
	b.see("what it means", text("#points", "Nothing is lost: every partition has at least 2 owners up"))
	b.see("what to do", text("#commands", "starling status --watch"))
	b.see("its pieces", `document.querySelectorAll('.ring .piece.down').length > 0`)
	b.see("its state", text(fmt.Sprintf(".node-list [data-name=%s] .tag.bad", name), "down"))
	b.shots("down")
	b.click("nav [data-view=nodes]")
	b.see("the hints that n1 keeps for it", fmt.Sprintf(`[...document.querySelectorAll('#nodes .card:nth-child(2) tbody th')].some(e => e.innerText === %q)`, name))
	b.shots("down-nodes")
	k := 0
	for !slices.Contains(c.owners(1, "b", fmt.Sprint("while-down-", k)), i) {
		k++
	}
	b.eval(fmt.Sprintf("location.hash = '#/keys/b/while-down-%d'", k), nil)
	b.see("that an owner is down", text("#explanation .lead", name+" is down"))
	b.see("that this is no difference", text("#explanation .tag", "not all answered"))
	b.see("who holds a hint", text("#explanation .lead", "a hint for "+name))
	b.shots("down-key")
	b.click("nav [data-view=overview]")
	c.run("start", fmt.Sprint(i))
	b.see("that all is well again", text("#headline", "All is well."))
}

// consoleShowsJoin adds a node and sees it being filled.
func consoleShowsJoin(b *browser, c *cluster) {
	b.t.Helper()
	value := strings.Repeat("v", 50_000)
	for k := range 60 {
		c.do(204, "PUT", k%5+1, fmt.Sprint(keys, "big-", k), value)
	}
	added := make(chan error, 1)
	go func() {
		_, err := c.script([]string{"STARLING_TRANSFER_BYTES_PER_SECOND=384KiB"}, "add")
		added <- err
	}()
	b.see("that a node joins", text("#headline", "n6 is joining."))
	b.see("how far it is", `/\d+ partitions? (is|are) still being copied to it/.test(document.querySelector('#points').innerText)`)
	b.see("what settles, in the ring", `document.querySelector('.ring .piece.settling')`)
	b.see("its state", text(".node-list [data-name=n6] .tag", "joining"))
	b.shots("join")
	if err := <-added; err != nil {
		b.t.Fatal(err)
	}
	b.see("a ring of six nodes", text(".ring .heart", "6 of 6"))
	b.see("that all is well", text("#headline", "All is well."))
}

// consoleMapsConvergence looks at the map of six nodes.
func consoleMapsConvergence(b *browser) {
	b.t.Helper()
	b.click("nav [data-view=convergence]")
	b.see("all pairs of six nodes", `document.querySelectorAll('.pair canvas').length === 15`)
	b.see("cells", `(() => {
		const e = document.querySelector('.pair canvas');
		return e.getContext('2d').getImageData(0, 0, e.width, e.height).data.some(v => v > 0);
	})()`)
	b.see("what they come to", `/of 3,072 pairs|All 3,072 pairs/.test(document.querySelector("#convergence .lead").innerText)`)
	b.shots("convergence")
}
