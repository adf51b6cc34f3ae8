// Package releasetest holds what tests of releases need: a store and a key
// service in memory, both with faults to order, and [TestStore], the contract
// that every release.Store keeps.
//
// Its promise is that the store in memory and a real one cannot be told apart
// through the interfaces of package release; TestStore holds both to it.
package releasetest
