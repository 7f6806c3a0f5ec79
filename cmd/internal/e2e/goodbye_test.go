package e2e

import (
	"strings"
	"testing"

	"starling/cmd/internal/load"
)

// Clients who keep their connections lose none of them with a request on it
// when a node stops, nor when it leaves.
func TestGracefulEndsCutNobodyOff(t *testing.T) {
	t.Parallel()
	c := up(t, 4)
	clients := c.clients(load.ClientOptions{Clients: 16, KeysEach: 16})
	stop := drive(t, clients)
	awaitRequests(t, clients, 300)
	c.run("stop", "1")
	awaitRequests(t, clients, 100)
	c.run("start", "1")
	clients.GoHome()
	awaitRequests(t, clients, 300)
	c.run("leave", "4")
	awaitRequests(t, clients, 100)
	stop()
	for _, f := range clients.Failures() {
		for _, cut := range []string{"EOF", "reset", "broken pipe"} {
			if strings.Contains(f, cut) {
				t.Error("cut off: ", f)
			}
		}
	}
	c.settled(1)
	c.wantAllAcknowledged(clients)
	clients.Close()
}
