// Package dp is exact differential privacy on integers.
//
// # Promise
//
// Add up one vector of integers per contributor, each clipped by [ClipL2] to
// a norm of at most C; add to every coordinate of the sum its own draw of
// discrete Gaussian noise of variance [GaussianVariance](C, ρ); publish the
// result and anything computed from it. Whatever else an onlooker knows,
// adding or removing one contributor's vector changes the law of what is
// published by no more than ρ-zCDP allows. No step on that way is
// approximate: clipping, sampling and accounting are integer arithmetic, and
// no floating-point number reaches a value, a noise draw or a budget.
//
// # Unit and neighbours
//
// Two inputs are neighbours if one is the other with one contributor's whole
// vector added or removed. In this hub a contributor is a household over the
// days of one release, all its usage points together, and the vector is made of
// its energy in Wh by interval; what one of its days can change is bounded, too
// (package release, PRODUCTS.md). An absent
// household is the zero vector, so neighbouring sums of clipped vectors differ
// by a vector of norm at most C: the sensitivity is C. Someone who would
// rather compare two arbitrary days of the same household (replace-one)
// has a sensitivity of 2C and must read 4ρ where this package says ρ.
//
// # Mechanisms
//
//   - Discrete Gaussian, [DrawGaussian] and [DrawNoise]: independent noise of
//     variance σ² on integer vectors of L2 sensitivity C is ρ-zCDP with
//     ρ = C²/(2σ²). Canonne, Kamath and Steinke, "The Discrete Gaussian for
//     Differential Privacy", NeurIPS 2020, arXiv:2004.00010 (CKS20 below),
//     section 2 for the theorem, section 5 for the samplers.
//   - Discrete Laplace, [DrawLaplace] and [DrawLaplaceNoise]: independent noise
//     of scale Δ/ε on integer vectors of L1 sensitivity Δ is ε-differentially
//     private. Ghosh, Roughgarden and Sundararajan, STOC 2009.
//   - Ellipsoidal clip, [Basis]: a day's coefficients in a public weighted DCT,
//     truncated to integers and clipped there. Discrete Gaussian noise on their
//     sum is ρ-zCDP as above, with C in lattice units; it is the norm that is
//     better matched to what days have in common.
//   - Prefix sums, [Strategy]: contributors of one bin each, measured by an
//     integer square-root factorisation whose sensitivity is that of its longest
//     column. Fichtenberger, Henzinger and Upadhyay, ICML 2023; Henzinger,
//     Kalinin and Upadhyay, FORC 2026, arXiv:2509.14334.
//   - Composition: what several mechanisms spend adds up, [Rho.Add], also when
//     later ones are chosen after seeing earlier outputs. Bun and Steinke,
//     "Concentrated Differential Privacy", TCC 2016, arXiv:1605.02065.
//   - Fully adaptive composition, [Filter] and [Odometer]: how much later
//     mechanisms spend may be chosen after seeing earlier outputs, too, and
//     they may run at the same time. Feldman and Zrnic 2021, arXiv:2008.11193;
//     Whitehouse et al. 2023, arXiv:2203.05481; Haney et al. 2023,
//     arXiv:2309.05901.
//   - Continual release, [CausalClip]: an individual filter that clips a
//     contributor's vector while it arrives, so that each interval's sum can be
//     published as the interval closes. Feldman and Zrnic 2021.
//   - (ε, δ): [Epsilon] converts by the bound of CKS20, section 2.3. It is how
//     a budget is stated to people; budgets are kept and charged in ρ only.
//
// What is measured is integers, and so is what is published; turning published
// integers into estimates is post-processing, free of any charge, and left to
// other packages (estimate, below this one) that may use floating-point numbers.
//
// PROOFS.md beside this file proves each of these, and the exactness of the
// samplers; the tests check them by enumeration on small domains.
//
// # Randomness and time
//
// All randomness is crypto/rand's, whose Reader a program that makes releases
// must leave alone. Nothing exported takes a seed or a source of randomness, and
// no random byte outlives the call that read it. How long a
// draw takes depends on the value drawn, never on data: draw first, look at
// the data afterwards, and answer on a schedule. [Noise] holds draws made
// beforehand for that purpose.
//
// # Concurrency
//
// Functions may be called from many goroutines at once as long as they do
// not share a slice. A [Noise] or a [CausalClip] belongs to one goroutine at a
// time; a [Filter] or an [Odometer] is for many.
package dp
