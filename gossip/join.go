package gossip

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"starling/gossip/state"
	"starling/ring"
)

const (
	// defaultRPCPort is meant by a join address without a port.
	defaultRPCPort = 4701
	// maxJoinAddrs bounds JoinOptions.Addrs and Options.Seeds.
	maxJoinAddrs = 64
	joinTimeout  = 2 * time.Second // of one try of one address

	firstJoinPause, maxJoinPause = 100 * time.Millisecond, 2 * time.Second
	// joinLogEvery is between two reports of a join that waits.
	joinLogEvery = 10 * time.Second
)

// JoinOptions say which cluster a fresh node asks for, and what it insists on.
type JoinOptions struct {
	// Addrs are RPC addresses, host:port or host alone for port 4701. The ports of a node are neighbours and easily
	// mixed up, so the one below and the one above are tried too.
	Addrs []string
	// Fetch asks one address for its map.
	Fetch Exchanger
	// ID, Name and RPC are the node's own, as in Options.Self.
	ID        ring.NodeID
	Name, RPC string
	// Replace, if not empty, is the name or ID of the member that the node is to replace; see [Options].
	Replace string
	// Cluster, if not zero, is the only cluster to join: the one the data directory belongs to.
	Cluster [16]byte
	// Partitions and Replicas are those the user insists on; 0 takes the cluster's.
	Partitions, Replicas int
	// Logger may be nil.
	Logger *slog.Logger
}

// Join asks the join addresses, for as long as ctx allows, until a node answers that belongs to a cluster, and returns
// that cluster's map. It changes nothing there: the caller saves the map and gives it to New, which adds the node. It
// never creates a cluster. It gives up at once where waiting cannot help: state.ErrSettings if the cluster has other
// Partitions or Replicas, or this build cannot serve it; state.ErrNameTaken; state.ErrForeignCluster; ErrRemoved;
// state.ErrUnknownMember or state.ErrInvalid if the node cannot replace whom it is to replace.
func Join(ctx context.Context, o JoinOptions) (state.Map, error) {
	if o.Fetch == nil {
		return state.Map{}, fmt.Errorf("%w: Fetch is needed", ErrOptions)
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if err := checkAddrs(o.Addrs); err != nil {
		return state.Map{}, err
	}
	if len(o.Addrs) == 0 {
		return state.Map{}, fmt.Errorf("%w: no join address", ErrOptions)
	}
	started, reported := time.Now(), time.Time{}
	for wait := firstJoinPause; ; wait = min(2*wait, maxJoinPause) {
		m, err := askAll(ctx, o)
		if err == nil {
			if err := o.accept(m); err != nil {
				return state.Map{}, err
			}
			o.Logger.Info("found the cluster", "settings", m.Settings.String(), "members", len(m.Members))
			return m, nil
		}
		if time.Since(reported) >= joinLogEvery {
			reported = time.Now()
			o.Logger.Info("waiting for a join address to answer with a cluster map", "addresses", o.Addrs,
				"waited", time.Since(started).Round(time.Second), "error", err)
		}
		if !pause(ctx, jitter(wait)) {
			return state.Map{}, fmt.Errorf("gossip: join: %w", errors.Join(context.Cause(ctx), err))
		}
	}
}

// accept checks the cluster's map against what the node insists on.
func (o JoinOptions) accept(m state.Map) error {
	s := m.Settings
	switch {
	case o.Cluster != [16]byte{} && o.Cluster != s.Cluster:
		return fmt.Errorf("%w: this data directory belongs to cluster %x, the join address to cluster %x: correct the join "+
			"addresses or start with an empty data directory", state.ErrForeignCluster, o.Cluster, s.Cluster)
	case o.Partitions != 0 && o.Partitions != int(s.Partitions):
		return fmt.Errorf("%w: this node is configured for %d partitions, cluster %x has %d for ever: configure %d, or none",
			state.ErrSettings, o.Partitions, s.Cluster, s.Partitions, s.Partitions)
	case o.Replicas != 0 && o.Replicas != int(s.Replicas):
		return fmt.Errorf("%w: this node is configured for %d replicas, cluster %x has %d for ever: configure %d, or none",
			state.ErrSettings, o.Replicas, s.Cluster, s.Replicas, s.Replicas)
	}
	if err := s.Validate(); err != nil {
		return err
	}
	self := state.Member{ID: o.ID, Name: o.Name, RPC: o.RPC, State: state.Joining}
	var replaced ring.NodeID
	if o.Replace != "" {
		r, err := m.Find(o.Replace)
		if err != nil {
			return fmt.Errorf("gossip: whom to replace: %w", err)
		}
		replaced = r.ID
	}
	_, err := enter(m, self, replaced)
	return err
}

// askAll asks all addresses at once and returns the first map with settings, or why there is none.
func askAll(ctx context.Context, o JoinOptions) (state.Map, error) {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	type answer struct {
		m   state.Map
		err error
	}
	answers := make(chan answer, len(o.Addrs))
	for _, addr := range o.Addrs {
		wg.Go(func() {
			m, err := ask(ctx, o.Fetch, addr)
			answers <- answer{m, err}
		})
	}
	var errs []error
	for range o.Addrs {
		a := <-answers
		if a.err == nil {
			return a.m, nil
		}
		errs = append(errs, a.err)
	}
	return state.Map{}, errors.Join(errs...)
}

// ask tries one join address, and then its neighbours. The error is that of the address as it was given.
func ask(ctx context.Context, fetch Exchanger, join string) (state.Map, error) {
	addrs, err := candidates(join)
	if err != nil {
		return state.Map{}, err
	}
	var first error
	for _, addr := range addrs {
		m, err := askOne(ctx, fetch, addr)
		if err == nil {
			return m, nil
		}
		if first == nil {
			first = err
		}
	}
	return state.Map{}, first
}

func askOne(ctx context.Context, fetch Exchanger, addr string) (state.Map, error) {
	ctx, cancel := context.WithTimeout(ctx, joinTimeout)
	defer cancel()
	m, err := fetch.Exchange(ctx, addr, state.Map{})
	if err != nil {
		return state.Map{}, fmt.Errorf("%s: %w", addr, err)
	}
	if m.Settings.IsZero() {
		return state.Map{}, fmt.Errorf("%s has joined no cluster yet", addr)
	}
	return m, nil
}

// checkAddrs refuses join addresses that could never be dialled.
func checkAddrs(addrs []string) error {
	if len(addrs) > maxJoinAddrs {
		return fmt.Errorf("%w: %d join addresses, at most %d", ErrOptions, len(addrs), maxJoinAddrs)
	}
	for _, addr := range addrs {
		if _, err := candidates(addr); err != nil {
			return fmt.Errorf("%w: join address %q: %w", ErrOptions, addr, err)
		}
	}
	return nil
}

// candidates are the addresses that a join address may mean, the likeliest first: HTTP, RPC and gossip ports are
// consecutive by default.
func candidates(join string) ([]string, error) {
	host, port, err := splitJoin(join)
	if err != nil {
		return nil, err
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 {
		return nil, fmt.Errorf("port %q: want a number from 1 to 65535", port)
	}
	var list []string
	for _, p := range []uint64{n, n - 1, n + 1} {
		if p >= 1 && p <= 65535 {
			list = append(list, net.JoinHostPort(host, strconv.FormatUint(p, 10)))
		}
	}
	return list, nil
}

// splitJoin takes host:port apart, or a host alone: a name, an IPv4 address, an IPv6 address with or without brackets.
func splitJoin(join string) (host, port string, err error) {
	host, port, err = net.SplitHostPort(join)
	if err != nil {
		host, port = strings.TrimSuffix(strings.TrimPrefix(join, "["), "]"), strconv.Itoa(defaultRPCPort)
		if _, notIP := netip.ParseAddr(host); notIP != nil && strings.ContainsAny(host, ":[]") {
			return "", "", err
		}
	}
	if host == "" {
		return "", "", errors.New("no host")
	}
	return host, port, nil
}
