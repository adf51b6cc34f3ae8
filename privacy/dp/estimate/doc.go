// Package estimate is post-processing: it turns noisy integers that have been
// published, or could be, into the best statements that can be made of them.
//
// # Promise
//
// Nothing in this package touches private data or a budget. Its whole input is
// what a release of package dp has already published, and public knowledge:
// the tree, the variances of the noise, counts from an asset register, a
// stated prior. What is computed from published numbers alone costs no privacy
// (PROOFS.md of package dp, claim 6). That is why it may use floating point,
// which package dp must not; and why anybody can run it again: the same input
// gives the same output, there is no randomness and no clock.
//
// The promise ends where its condition does. A variance tuned on exact sums, a
// count of the households that take part, a prior fitted to readings: each is
// private data and makes the result a release of its own.
//
// # Units
//
// Values are in the unit of the measurement (Wh), variances in its square
// (Wh²), ranks in contributors. Integers up to 2^53 are exact in a float64. A
// variance of +Inf says that there is no measurement, or no estimate.
//
// # What is biased, and what is not
//
//   - Published measurements are unbiased for the sum of the clipped vectors.
//     For the true sum they are biased downward by what the clip cut off.
//     Publish them beside whatever is computed here: they alone let an outsider
//     test the noise.
//   - [Tree.LeastSquares] is linear and adds no bias, but mixes those of the
//     levels: the bias of the tightly clipped leaves reaches the region. It is
//     for measurements of one clip norm, or of none (counts).
//   - [Tree.CommonMode] removes what every node of a level lost alike, and keeps
//     the region's own bias. A node that lost more than its share keeps the
//     difference. See [Aligned].
//   - [Estimates.Shrink] is biased by design, toward a stated prior. Its mean
//     squared error holds on average over that prior, not for one node.
//   - [Isotonic] and the quantiles of a [CDF] are nonlinear and biased by less
//     than their bands, which hold whatever the bias.
//   - The highest point of a noisy curve is biased upward; [FindPeak] says by how
//     much, and gives an interval that does not depend on the correction.
//   - An [Interval] takes the bias in as a bound and names where the bound comes
//     from ([BiasSource]). It never leaves it out silently.
//
// # Sources
//
// Least squares on a tree: Hay, Rastogi, Miklau and Suciu, "Boosting the
// accuracy of differentially private histograms through consistency", VLDB
// 2010; Cumings-Menon, "Full-information estimation for hierarchical data",
// 2024, arXiv:2404.13164, for unequal variances, missing measurements and the
// variances of the estimates. Isotonic regression: Ayer, Brunk, Ewing, Reid and
// Silverman, 1955. The common-mode correction and the peak are this project's
// own. ESTIMATES.md beside this file derives them all and names the tests.
//
// # Concurrency
//
// A [Tree] and a [CDF] do not change once made and may be shared. Functions do
// not keep or change what they are given.
package estimate
