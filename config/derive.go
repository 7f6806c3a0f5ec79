package config

import (
	"net"
	"net/netip"
	"strconv"
)

// machine is what defaults depend on outside the settings.
type machine struct {
	hostname func() (string, error)
	addrs    func() ([]net.Addr, error)
}

// derive fills the fields whose default is computed. Those in bad were given
// with an unusable value, so nothing is derived from them.
func (c *Config) derive(m machine, bad map[string]bool) Problems {
	var problems Problems
	if !c.IsSet("hints_max_target_bytes") {
		c.HintsMaxTargetBytes = c.HintsMaxBytes / 2
	}
	if !c.IsSet("name") {
		name, err := m.hostname()
		checked, ok := label(false).parse(name)
		if err != nil || !ok {
			problems = append(problems, Problem{Setting: "name", Value: name, Source: "default", Want: "a name, because this machine's own cannot be used: " + label(false).allowed})
		}
		c.Name = checked
	}
	for _, a := range []struct {
		listen, advertise string
		from, to          *string
	}{
		{"http", "advertise_http", &c.HTTP, &c.AdvertiseHTTP},
		{"rpc", "advertise_rpc", &c.RPC, &c.AdvertiseRPC},
		{"gossip", "advertise_gossip", &c.Gossip, &c.AdvertiseGossip},
	} {
		if c.IsSet(a.advertise) || bad[a.listen] {
			continue
		}
		addr, ok := reachable(*a.from, m)
		if !ok {
			problems = append(problems, Problem{Setting: a.advertise, Source: "default",
				Want: "a value, because " + a.listen + " listens on every address and this machine has none but loopback"})
		}
		*a.to = addr
	}
	return problems
}

// reachable is the listen address with a host that others can use.
func reachable(listen string, m machine) (string, bool) {
	host, port, ok := splitAddress(listen)
	if !ok || !isUnspecified(host) {
		return listen, ok
	}
	addr, ok := firstAddress(m)
	if !ok {
		return "", false
	}
	return net.JoinHostPort(addr.String(), strconv.Itoa(int(port))), true
}

// firstAddress is the machine's first address that is neither loopback nor
// bound to a link, one of IPv4 if there is any.
func firstAddress(m machine) (netip.Addr, bool) {
	all, err := m.addrs()
	if err != nil {
		return netip.Addr{}, false
	}
	var found netip.Addr
	for _, a := range all {
		prefix, err := netip.ParsePrefix(a.String())
		if err != nil || !prefix.Addr().IsGlobalUnicast() {
			continue
		}
		if prefix.Addr().Is4() {
			return prefix.Addr(), true
		}
		if !found.IsValid() {
			found = prefix.Addr()
		}
	}
	return found, found.IsValid()
}

// collide says whether two listeners would ask for one port.
func collide(a, b string) bool {
	hostA, portA, _ := splitAddress(a)
	hostB, portB, _ := splitAddress(b)
	return portA == portB && portA != 0 && (hostA == hostB || isUnspecified(hostA) || isUnspecified(hostB))
}
