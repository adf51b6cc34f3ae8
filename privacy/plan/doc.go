// Package plan chooses how a release is measured, on a public reference population,
// and tries the choice on any population: what error to expect, before a budget is
// spent.
//
// A [Design] is a public basis, and for every level of a tree its share of the
// budget and its clip norm. A [Study] of the reference chooses basis and norms so that
// the error on it is least, and [Study.Best] the split of a budget; [Design.Try]
// measures a population as a hub would, with real noise, and compares the estimates
// with the truth. Means are tried through the clip of each day, too, where a population
// is a [Span].
//
// Whatever is decided here decides what is published about everyone. It must never
// see private data: its inputs are a published reference, or the model of package
// population.
//
// # The tree
//
// Households stand in a row; a level of size n cuts the row into nodes of n. The
// first level is the region, and every size divides the one before it. Real trees
// differ in size from node to node; what a plan says of a level is for nodes of
// about that size.
package plan
