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
// A household's day is one vector of 48 integers (Wh by UTC half-hour). It
// enters exactly one node of every level of a public tree, clipped in L2 to
// that level's bound C. So at one level, adding or removing the household moves
// the whole level's vector by at most C, and discrete Gaussian noise of
// variance σ² ≥ C²/(2ρ) on every coordinate is ρ-zCDP (package dp, PROOFS.md;
// Canonne, Kamath and Steinke 2020). Levels compose by addition. Days are
// disjoint inputs of one household, so a year adds up at most what its days
// reserved. Every node is published every day, empty ones included, so nothing
// is selected by looking at data.
//
// # Order
//
// Closing a day: no more contributions are taken; budget is reserved and
// committed; noise is drawn; only then is the spool opened, clipped and summed;
// the signed release, its ledger leaf and the window's state commit together;
// the window's key is destroyed. A crash after the reservation costs budget: the
// next attempt reserves again and draws fresh noise, and what the first attempt
// drew was never seen by anyone. A crash after the commit leaves only the key to
// destroy, which the next attempt does.
package release
