// Package release turns sealed contributions into published totals, and is the only
// way that numbers of more than one household leave the hub.
//
// # Promise
//
// No total without noise, no noise without budget, nothing twice. A Catalogue declares
// what is published: products over a day, a week or a month, at groups of households of
// a public tree. For any one household, everything of a calendar year that depends on
// its readings is ρ-zero-concentrated differentially private with the sum of what was
// reserved for it beforehand, at most the yearly cap; and everything, whenever it is
// published, that depends on its readings of one UTC day, given its others, with the
// sum of what was reserved for that day, at most the daily cap. Neighbours differ by
// one household, or by one of its days, added or removed. Released without noise: the
// grid tree, the number of usage points registered below each node, the tariff groups,
// the catalogue and the schedule.
//
// # Why that holds
//
// PRODUCTS.md beside this file proves it product by product. In short: a household's
// readings of a UTC day add one share to the running sum of each product that the day
// is part of, once, and a running sum becomes one contribution to at most one node of
// every level of a public tree. Both are clipped, or are one vote, so that neither a
// household nor one of its days moves a level by more than a bound, and discrete
// Gaussian noise of variance σ² ≥ bound²/(2ρ) on every coordinate is ρ-zCDP (package
// dp, PROOFS.md; Canonne, Kamath and Steinke 2020). Levels and products compose by
// addition.
//
// Nothing is selected by looking at data. Every node is published every time, empty
// ones included. The schedule follows the clock: it begins when the hub takes its first
// readings, with the first day that is still open then, and has every day since,
// whether or not anything arrived for it; a span is published if it began with the
// schedule or after it, and under the catalogue entry that it ends with. No reading
// stops a release: what would overflow is saturated before the clip, household by
// household. What does stop one is damage: a record that does not open, or a register,
// key service or store that does not answer.
//
// # Order
//
// Closing a day takes these steps. After each stands what a power failure right
// behind it leaves.
//
//  1. Contributions end. The window is closing, and the next call goes on.
//  2. Tree and register are read, the window's key is unwrapped, every record of
//     the spool and of running sums is opened and dropped. As 1: what can fail for
//     long fails here, and costs nothing.
//  3. The running sums of spans that go on are sealed to the next window, record by
//     record. As 1, and records that nobody can open.
//  4. Budget is reserved for every release, and committed. As 3, and the reservations
//     are spent.
//  5. Noise is drawn. As 4: nobody saw it, and the next attempt pays for its own.
//  6. Spool and running sums are opened, clipped, summed, noised and signed. As 4.
//  7. Each release is committed with its ledger leaf. It is published, with these bytes
//     for good.
//  8. Window state and the key of the new running sums are committed together, and the
//     old ones deleted. The day is published; 9 is left.
//  9. The window's key is destroyed. What was in the spool opens for nobody.
//  10. Spool and wrapped key are deleted. The window is closed.
//
// A release whose budget is refused at 4 is given up, for good. When 7 or 8 fails in a
// process that lives on, the next call proposes the same bytes again: they are paid
// for. One that was replaced finds what is published, and attempts what is not.
//
// Readings that come after their day was closed enter the next window, and with it the
// spans that are still open, as long as their day has had no share in them. Live load
// is published in the course of a day, see Engine.PublishLive.
package release
