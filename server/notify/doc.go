// Package notify tells third parties of changes: that a consent was granted, narrowed or
// ended, that readings have come. What is told says that something changed and where to
// look, and never a reading.
//
// It keeps three promises. Nothing that happened is left untold: a notification is written
// in the transaction that changes the consent, is sent until it is taken, and can be pulled
// by its number whether it was sent or not. Nobody waits for somebody else's receiver. And
// the hub calls nothing but what a stranger could call: no address inside, no redirect.
//
// # The life of a notification
//
// A third party that has an [Endpoint] has one sequence of numbers. A notification gets the
// next one, under a lock that is kept until its transaction ends: whoever has seen number n
// sees every lower one, or never will.
//
//	             ┌ taken   answered 2xx
//	waiting ─────┼ given up   refused for three days
//	             └ (nothing)   no longer kept
//
// An endpoint that does not answer is called again, later each time, with one notification
// until it takes one; so is one that answers with trouble of its own (408, 425, 429, 502,
// 503, 504). Any other answer is about what was sent: that notification is put off by
// itself, and what else there is goes on. Of one consent a later notification never goes
// before an earlier one. An endpoint at which nothing was taken for three days is given up,
// and one that answers 410 is gone: both are called no more until the third party puts its
// endpoint again, and what they missed is kept as long as the rest.
//
// What is sent may come twice: a process that dies between an answer and writing it down
// has it sent again. Receivers know it by its number.
//
// # Who calls
//
// An endpoint that has something due is leased by the process that calls it, for longer than
// a call lasts. So several processes share the work, each endpoint has one call at a time,
// and what a dead process had leased goes on with the next.
package notify
