package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"starling/cmd/internal/load/internal/lab"
)

// grow has two nodes join three, at once.
func (b *bench) grow(ctx context.Context) error {
	if err := b.steady(ctx, "three nodes"); err != nil {
		return err
	}
	const name = "n4 and n5 join"
	var paired pairs
	err := b.change(ctx, name, false, func(ctx context.Context) error {
		joined, end := context.WithCancel(ctx)
		defer end()
		var measuring sync.WaitGroup
		measuring.Go(func() {
			var err error
			if paired, err = b.pairUp(joined, name, 5); err != nil && joined.Err() == nil {
				b.miss("%s: measuring with and without transfers: %v", name, err)
			}
		})
		defer measuring.Wait()
		if _, err := b.cluster.Call(ctx, nil, "up", "5"); err != nil {
			return err
		}
		err := b.awaitSettled(ctx, 1, 5)
		end()
		return err
	})
	if err != nil {
		return err
	}
	b.rows[len(b.rows)-1].paired = &paired
	b.nodes = 5
	if err := b.change(ctx, "old copies go", false, b.awaitNoOldCopies); err != nil {
		return err
	}
	if err := b.balance(ctx); err != nil {
		return err
	}
	return b.steady(ctx, "five nodes")
}

// balance holds the members' shares of the partitions against the bounds of
// the ring.
func (b *bench) balance(ctx context.Context) error {
	doc, err := b.askCluster(ctx, 1)
	if err != nil {
		return err
	}
	var shares []int
	sum := 0
	for _, m := range doc.Members {
		if m.State == "active" {
			shares = append(shares, m.Settled)
			sum += m.Settled
		}
	}
	if len(shares) == 0 {
		return errors.New("no member is active")
	}
	slices.Sort(shares)
	even := float64(sum) / float64(len(shares))
	least, most := float64(shares[0])/even, float64(shares[len(shares)-1])/even
	b.tell("balance of %d nodes: %.2f to %.2f of an even share of the partitions", len(shares), least, most)
	if least < leastShare || most > mostShare {
		b.miss("shares of %.2f to %.2f, wanted %.2f to %.2f", least, most, leastShare, mostShare)
	}
	return nil
}

// shrink has two of five nodes leave at once; one of them is killed half-way
// and goes on when it is started again.
func (b *bench) shrink(ctx context.Context) error {
	b.nodes = 3
	return b.change(ctx, "n4 and n5 leave, n4 is killed half-way", true, func(ctx context.Context) error {
		errs := make(chan error, 2)
		for _, i := range []int{4, 5} {
			if err := b.post(ctx, b.endpoint(1)+"/v1/cluster/leave", fmt.Sprintf(`{"node":"n%d"}`, i)); err != nil {
				return err
			}
		}
		if err := b.awaitMoved(ctx, "n4", 0.5); err != nil {
			return err
		}
		lab.Say("killing n4")
		if err := b.cluster.Node(ctx, "kill", 4); err != nil {
			return err
		}
		for _, i := range []int{4, 5} {
			go func() { errs <- b.cluster.Node(ctx, "leave", i) }()
		}
		return errors.Join(<-errs, <-errs, b.awaitSettled(ctx, 1, 3))
	})
}

// turns replaces the last node again and again, and measures the time before
// each and while the new one is filled: with as many processes, and as many
// copies of a write, on this machine as before. What differs is the transfer.
func (b *bench) turns(ctx context.Context) error {
	for range b.opts.turns {
		if err := b.steady(ctx, fmt.Sprintf("%d nodes", b.nodes)); err != nil {
			return err
		}
		err := b.change(ctx, fmt.Sprintf("n%d is filled again", b.nodes), true, func(ctx context.Context) error {
			if err := b.cluster.Node(ctx, "kill", b.nodes); err != nil {
				return err
			}
			if err := b.cluster.Node(ctx, "wipe", b.nodes); err != nil {
				return err
			}
			if err := b.cluster.Node(ctx, "replace", b.nodes); err != nil {
				return err
			}
			return b.awaitSettled(ctx, 1, b.nodes)
		})
		if err != nil {
			return err
		}
		b.rows[len(b.rows)-1].turn = true
	}
	return nil
}

// replace kills a node for good and has a fresh one take its place; then the
// dead node's disk comes back.
func (b *bench) replace(ctx context.Context) error {
	old, data := filepath.Join(os.Getenv("STARLING_HOME"), "old-n3"), filepath.Join(os.Getenv("STARLING_HOME"), ".starling", "n3", "data")
	err := b.change(ctx, "n3 dies and is replaced", true, func(ctx context.Context) error {
		if err := b.cluster.Node(ctx, "kill", 3); err != nil {
			return err
		}
		if err := os.Rename(data, old); err != nil {
			return err
		}
		if err := b.cluster.Node(ctx, "replace", 3); err != nil {
			return err
		}
		return b.awaitSettled(ctx, 1, 3)
	})
	if err != nil {
		return err
	}
	return b.change(ctx, "the old disk of n3 comes back", true, func(ctx context.Context) error {
		fresh := data + ".fresh"
		if err := errors.Join(b.cluster.Node(ctx, "stop", 3), os.Rename(data, fresh), os.Rename(old, data)); err != nil {
			return err
		}
		err := b.cluster.Node(ctx, "start", 3)
		if err == nil {
			b.miss("a node that was replaced started from its old disk")
		} else {
			text := err.Error()
			b.tell("the old disk: %.200s", strings.ReplaceAll(text[max(0, strings.LastIndex(text, "Error")):], "\n", " "))
		}
		_ = b.cluster.Node(ctx, "kill", 3)
		return errors.Join(os.Rename(data, old), os.Rename(fresh, data), b.cluster.Node(ctx, "start", 3), b.awaitSettled(ctx, 1, 3))
	})
}

// three has three nodes join at once, of which one is killed half-way for
// good, and removed.
func (b *bench) three(ctx context.Context) error {
	return b.change(ctx, "three join, one dies and is removed", true, func(ctx context.Context) error {
		up, stop := context.WithCancel(ctx)
		defer stop()
		var starting sync.WaitGroup
		starting.Go(func() { _, _ = b.cluster.Call(up, nil, "up", "6") }) // it cannot end well: n6 dies
		if err := b.awaitMoved(ctx, "n6", 0.3); err != nil {
			return err
		}
		lab.Say("killing n6")
		if err := b.cluster.Node(ctx, "kill", 6); err != nil {
			return err
		}
		stop()
		starting.Wait()
		if err := b.awaitDead(ctx, "n6"); err != nil {
			return err
		}
		if err := b.post(ctx, b.endpoint(2)+"/v1/cluster/remove", `{"node":"n6"}`); err != nil {
			return err
		}
		b.nodes = 5
		return b.awaitSettled(ctx, 1, 5)
	})
}

// awaitSettled waits until the nodes first to last are all active, hold all
// they own, and go by one map that has no others in it.
func (b *bench) awaitSettled(ctx context.Context, first, last int) error {
	return b.until(ctx, func() error {
		var hash string
		for i := first; i <= last; i++ {
			doc, err := b.askCluster(ctx, i)
			if err != nil {
				return err
			}
			if hash != "" && doc.MapHash != hash {
				return fmt.Errorf("n%d goes by another map", i)
			}
			hash = doc.MapHash
			there := 0
			for _, m := range doc.Members {
				if m.State == "removed" {
					continue
				}
				if there++; m.State != "active" || m.Pending > 0 || !m.Alive {
					return fmt.Errorf("%s is %s, %d partitions pending", m.Name, m.State, m.Pending)
				}
			}
			if there != last-first+1 {
				return fmt.Errorf("%d members", there)
			}
		}
		return nil
	})
}

// awaitMoved waits until a node that joins, or leaves, holds this part of
// what it is to hold, or of what it held when this was called, or less.
func (b *bench) awaitMoved(ctx context.Context, name string, part float64) error {
	most := 0
	return b.until(ctx, func() error {
		doc, err := b.askCluster(ctx, 1)
		if err != nil {
			return err
		}
		for _, m := range doc.Members {
			most = max(most, m.Settled)
			switch {
			case m.Name != name:
			case m.State == "joining" && m.Settled > 0 && float64(m.Settled) >= part*float64(m.Settled+m.Pending):
				return nil
			case m.State == "leaving" && float64(m.Settled) <= part*float64(most):
				return nil
			case m.State == "removed", m.State == "active":
				return nil // it was quicker than we
			}
		}
		return fmt.Errorf("%s has not moved enough", name)
	})
}

func (b *bench) awaitDead(ctx context.Context, name string) error {
	return b.until(ctx, func() error {
		doc, err := b.askCluster(ctx, 2)
		for _, m := range doc.Members {
			if m.Name == name && m.Alive {
				err = errors.Join(err, fmt.Errorf("%s is held for alive", name))
			}
		}
		return err
	})
}

// awaitNoOldCopies waits until no node keeps rows of partitions that it does
// not own.
func (b *bench) awaitNoOldCopies(ctx context.Context) error {
	return b.until(ctx, func() error {
		for i := 1; i <= 5; i++ {
			text, err := lab.Get(ctx, b.endpoint(i)+"/metrics")
			if err != nil {
				return err
			}
			if n := lab.Metric(text, oldCopies); n > 0 {
				return fmt.Errorf("n%d keeps %.0f old copies", i, n)
			}
		}
		return nil
	})
}

// oldCopies is the gauge of partitions that a node holds and does not own.
const oldCopies = "starling_old_copies"

// until tries until f succeeds; at the end of ctx it fails with what f said
// last.
func (b *bench) until(ctx context.Context, f func() error) error {
	for {
		err := f()
		if err == nil {
			return nil
		}
		if lab.Await(ctx, time.Now().Add(pollInterval)) != nil {
			return fmt.Errorf("%w: %w", context.Cause(ctx), err)
		}
	}
}
