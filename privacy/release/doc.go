// Package release turns a day's sealed contributions into published totals, and
// is the only way that numbers of more than one household leave the hub.
//
// # Promise
//
// No total without noise, no noise without budget, no day twice. For any one
// household and any one UTC day, everything this package publishes that depends
// on that day's readings is ρ-zero-concentrated differentially private with the
// ρ it has reserved beforehand; over a calendar year the reservations never
// exceed the plan's cap. Neighbours differ by one household's whole day, added
// or removed. Released without noise: the grid tree, the number of usage points
// registered below each node, and the schedule.
//
// # Why that holds
//
// A household's day is one vector of 48 integers (Wh by UTC half-hour), made of
// that household's intervals of that day and of nothing else. It enters at most
// one node of every level of a public tree, clipped in L2 to that level's bound
// C. So at one level, adding or removing the household moves the whole level's
// vector by at most C, and discrete Gaussian noise of variance σ² ≥ C²/(2ρ) on
// every coordinate is ρ-zCDP (package dp, PROOFS.md; Canonne, Kamath and Steinke
// 2020). Levels compose by addition. Days are disjoint inputs of one household,
// so a year adds up at most what its days reserved.
//
// Nothing is selected by looking at data. Every node is published every day,
// empty ones included. The schedule follows the clock: it begins when the hub
// takes its first readings, with the first day that is still open then, and has
// every day since, whether or not anything arrived for it. No reading stops a
// release: what would overflow is saturated before the clip, household by
// household. What does stop one is damage: a record that does not open, or a
// register, key service or store that does not answer.
//
// # Order
//
// Closing a day takes these steps. After each stands what a power failure right
// behind it leaves.
//
//  1. Contributions end. The window is closing, and the next call goes on.
//  2. Tree and register are read, the window's key is unwrapped, every record of
//     the spool is opened and dropped. As 1: what can fail for long fails here,
//     and costs nothing.
//  3. Budget is reserved and committed. As 1, and the reservation is spent.
//  4. Noise is drawn. As 3: nobody saw it, and the next attempt pays for its own.
//  5. The spool is opened, clipped, summed, noised and signed. As 3.
//  6. Release, ledger leaf and window state are committed together. The day is
//     published, with these bytes for good; 7 is left.
//  7. The window's key is destroyed. What was in the spool opens for nobody.
//  8. Spool and wrapped key are deleted. The window is closed.
//
// A day whose budget is refused at 3 is given up, and goes on at 7. When 6 fails
// in a process that lives on, the next call proposes the same bytes again: they
// are paid for.
package release
