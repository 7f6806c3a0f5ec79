// Package ring decides which nodes keep which partition: the partition of a key, the placement of partitions on
// members, and what a coordinator makes of it while data moves. It is pure: no clock, goroutine, randomness or I/O.
//
// The 64-bit hash ring is cut into Q equal partitions, a number fixed when the cluster is created (Dynamo, section 6.2,
// strategy 3: "Q/S tokens per node, equal-sized partitions"). New ranks all members for every partition, the preference
// list of Dynamo's section 4.3, and makes the first of them targets. A [View] adds which members hold complete data.
//
// # Duties of the caller
//
// All nodes build the ring from the same members and configuration; the cluster map sees to that, and the stamp of a
// [Placement] finds those who have not yet. A node
//
//   - sets its settled bit of a partition only when it holds all that the owners hold and a majority of the owners, with
//     every one that is alive, confirmed before that to see it as pending, by the stamp that is its own still; or, where
//     there is no owner and an administrator gave up what was lost, when it holds all that the other members have left
//     and all of those that are alive or pending confirmed it;
//   - waits for its turn ([View.Turn]) to do so where the partition has fewer owners than N ([View.Short]), and has had it
//     confirmed by every other pending node as well;
//   - clears its bit of a partition before it drops data of it or when it lost some, and sets it again in no other way;
//   - clears it, being displaced, only when all owners confirmed to see it so, by the stamp that is its own still; and
//     where the partition is short, only after it listed its data since then, and gave the owners what they lacked;
//   - knows its own bits at once: it refuses a request whose stamp differs from that of its own view.
//
// # Invariants
//
//  1. A ring depends on the set of members and the configuration alone: not on their order, not on earlier rings, not on
//     the platform (there is no floating point in it). Draining members do not change the targets.
//  2. Order(p) has every member once, and begins with Targets(p): min(N, members that are not draining) different
//     members, none of them draining.
//  3. Targets lie in min(N, zones) different zones. Where zones are fewer than N, no zone has two more than another that
//     has a member left.
//  4. While Q >= 12 × nodes: no node is a target of more than max(1.10 × its fair share, its fair share rounded up), nor
//     of less than 0.7 of it, unless that is less than one partition. The fair share is Q × min(N, nodes) by weight, where a node keeps one replica of a
//     partition at most and a zone what 3 lets it keep; what is over goes to the others by weight. So a zone that is
//     small for its number of replicas carries more by node: distinct zones go before even loads.
//  5. A join or a leave moves little more than it must; see the table.
//  6. Hash, the placement and the stamp are formats that nodes and stores of different versions share. Files in
//     testdata freeze them.
//  7. The lists of a Placement are disjoint, hold all targets and all settled members, and have at most N owners.
//  8. A member that takes the seat of one that is gone, with its zone and weight, has its place in every order; nothing else
//     moves. Without seats, a member's seat is its ID.
//
// # Placement
//
// Consistent hashing with bounded loads (Mirrokni, Thorup, Zadimoghaddam 2016) on weighted rendezvous hashing (Thaler,
// Ravishankar 1998), in three steps.
//
// Scores. Rendezvous hashing draws a score from the hash of node and partition: then a node's load varies like
// a sum of coin flips, with a deviation of 6 at a fair share of 36, and as much as 28 % of the nodes are above 1.10 of
// it. Here a node uses the hashes only to rank all partitions, and its score for a partition is a function of the place
// in that ranking: every node has the same scores in another order. This takes the node's own luck out and leaves that of
// its opponents: the deviation is 3.3 and 15 % are above. Whether one node's score beats another's still depends on
// these two only, so a newcomer takes what it wins and nothing else moves. The score is -log(1-u)/rate, the
// exponential race of weighted rendezvous, with a rate of -log(1-f) for a node that should be in a fraction f of the
// partitions: drawing without putting back gives heavy nodes less than their weight otherwise.
//
// Bounds. Pairs of partition and node are taken in the order of score over the whole ring, not partition by partition; a
// node at its bound takes no more. The score being the preference of both sides, the result is their only stable
// matching (Gale, Shapley 1962), which hardly changes when one node comes or goes: a node keeps its best partitions
// and hands on its worst, which are the ones that a newcomer would have taken first. The bound of a node is the
// promised one less up to 7/16 of a partition drawn from its seat: as clusters grow, nodes then step down to a lower bound at
// different joins and not all at one.
//
// Repair. Partitions that found all their possible targets at their bounds get one along a chain of exchanges, and a
// node below 0.7 of its share replaces targets of its best partitions that are above theirs. Both are rare.
//
// Measured over 30 sets of random names each, N = 3: the highest and the lowest load of any node in any set, as multiples of
// the fair share; what a join of one more node and a leave of one of the then nodes+1 move on average, as multiples of the
// least possible (what the newcomer gets, what the leaver had); and the same of the plain greedy pass, partition by
// partition, over hash scores. TestSweep measures again.
//
//	   Q  nodes  highest  lowest   join  leave    plain: lowest   join
//	1024      5    1.043   0.962  1.000  1.000            0.928  1.000
//	1024     10    1.074   0.928  1.000  1.000            0.852  1.003
//	1024     20    1.094   0.853  1.002  1.002            0.766  1.042
//	1024     30    1.094   0.859  1.018  1.016            0.716  1.076
//	1024     40    1.094   0.807  1.041  1.031            0.694  1.106
//	1024     50    1.090   0.798  1.086  1.074            0.581  1.191
//	1024     60    1.094   0.742  1.106  1.104            0.616  1.269
//	1024     70    1.094   0.706  1.174  1.187            0.485  1.430
//	1024     76    1.089   0.742  1.268  1.256            0.526  1.619
//	1024     80    1.094   0.729  1.236  1.247            0.527  1.611
//	1024     84    1.094   0.711  1.311  1.289            0.470  1.768
//	2048    100    1.090   0.781  1.131  1.136            0.690  1.364
//	2048    130    1.079   0.719  1.149  1.163            0.490  1.509
//	2048    140    1.094   0.706  1.384  1.377
//	2048    160    1.094   0.703  1.530  1.507            0.603  2.594
//	2048    166    1.081   0.702  1.193  1.191            0.598  1.529
//	4096    170    1.093   0.747  1.151  1.163
//	4096    200    1.090   0.732  1.210  1.215
//
// So a join or leave stays within 1.25 of the least possible up to Q = 13.6 × nodes with Q = 1024 (75 nodes), and takes
// 1.21 to 1.31 from there to 85 nodes; with Q = 2048 up to about 130 nodes (Q = 15 × nodes), beyond which sizes of
// 1.2 and of 1.5 alternate. With N = 5 it is 1.07 at worst, with N = 2 above 1.25 from 55 nodes on, with N = 1 from 34.
// Members of different weights or in equal zones move a little more (3 to 12 zones: 1.02 to 1.15 at 30 to 60 nodes), zones
// of very different sizes up to 1.7.
//
// What moves in excess is the price of the bound. A node above it has handed on some partitions; whenever a join takes one of
// those it kept, it takes one back, and whenever a join lowers its bound, it hands on one more. A ring that remembered
// its predecessor could let one cancel the other; a function of the set cannot. The excess is therefore about
// 1/2 × nodes/share × (the fraction of nodes above the bound), and grows with nodes²/Q.
//
// # Why reads meet writes
//
// Let S be the settled nodes of a partition. The owners O are the first N of S in Order, or all of S where it is
// smaller, or one fewer where draining nodes are to go (see below); the pending P are targets outside of S; the
// displaced D are the rest of S. A write needs W + |P| + |D| acknowledgements of O ∪ P ∪ D; a read needs R answers of
// O.
//
// Lemma: among any nodes T ⊆ O ∪ P ∪ D, at least W + |T| - |O| have acknowledged, since all but |O| - W of the
// writers have. So a read that takes its R answers from such a T meets the write if R + W > |O|, the owners of the
// writer: R + W + |T| - |O| > |T|. Numbers with R + W > N do this for all views. Majorities, of the owners that the
// reader sees and of those that the writer sees, do it unless the reader sees fewer than the writer by two or more.
// That this cannot be while it matters is shown below; here it is taken for granted.
//
// A reader that is behind the writer: the answers come from its owners, who were settled in its view. Those whose bit
// changed since refuse, as their own stamp differs. The others are settled in the writer's view too, so they are such
// a T. Nothing else matters: neither how many rings and bits lie between the two views, nor who knows of them.
//
// A reader that is ahead of the writer: its owners were settled in the writer's view, or settled since. If the writer
// saw the latter as pending, they are such a T. If not, they settled by the rule above: a majority of the owners had
// confirmed them as pending. From then on these refuse the writer's older stamp, and no majority is left that does
// not; and a write before that reached one of that majority, from whom the settling node copied. (For W below a
// majority this needs N-W+1 confirmations.)
//
// The least case is one pending node x that settles. Where O has N nodes, x displaces one of them, o. A write under
// the old placement had both O and O ∪ {x} \ {o} among its writers, one under the new placement too, o being
// displaced: by the lemma with |T| = N, W of either have it, and every R of either meet these. Where O is smaller, it
// grows to O ∪ {x}: W + 1 of that have an older write; W - 1 of O have a newer one, which R of its at most N - 1
// nodes meet.
//
// The displaced nodes are counted because a ring may change again before they clear their bits: a join that is
// followed by a leave can make them owners again at once, without any transfer. A displaced node clears its bit as
// soon as it notices that all owners see it so; its data it may drop later.
//
// # When there are few nodes
//
// A cluster of fewer than N members, or one that is to become one, has fewer owners than N, and a majority of the
// owners depends on their number. A majority of n meets one of n+1, in whole numbers n/2+1 + (n+1)/2+1 > n+1, but not
// one of n+2: a read of the one owner a misses what b and c of {a, b, c} acknowledged. So the number changes by one
// at a time, and a second step waits until the views before the first are of no use any more.
//
// It goes down where the targets are fewer than N and all are settled. What else is settled then drains, and the
// owners are min(|S|, N) - 1, or the targets if these are more; the others are displaced. The next step down comes
// when one of these, y, clears its bit: when all owners have confirmed the stamp, and then were given what y had and
// they lacked. Take a write under n owners, and m <= n-2 owners after that. The confirming nodes and y refuse it
// since they go by the newer stamp. If y had it when it listed its data, all owners have it. If not, the lemma for
// the m owners and y says that W + m + 1 - n of the owners have it: at most n - 1 - W lack it, one fewer for every
// further node that has gone so, and this is less than a majority of m.
//
// It goes up when a pending node x settles under n < N owners: most of these have confirmed a view with n owners and
// x the first of the pending nodes. A reader who sees n-1 is refused by them and finds no majority among the (n+1)/2
// - 1 others; one who sees fewer found none any more when the number came to n. And x goes alone: who is pending with
// it has confirmed that x comes first, by a stamp that is still its own, and settles after x under n+1 owners, who
// must confirm it anew; so must they for anyone who becomes pending later. A pending node that does not answer thus
// holds those up that are pending with it, until it is back or removed. (A write needs it there, or a hint for it, in
// most of these cases too.)
//
// A member that is removed while it is an owner, or that lost its data, takes a step down as well, without having
// handed over what it held. That is for an administrator to weigh: two such steps at once can hide a write that both
// of them had acknowledged, as they would if the disks were lost.
//
// TestMajoritiesMeet goes through all that can happen to one write and one read in clusters of three and four nodes
// that shrink and grow by two nodes at once, and finds the read that misses the write if any of these rules is left
// out.
package ring
