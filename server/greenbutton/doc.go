// Package greenbutton is the door of Green Button Connect My Data: the resources of ESPI
// (NAESB REQ.21) over HTTP, as certified clients and EDDIE's connector ask for them.
//
// It keeps one promise: it can do nothing that its caller could not do over the API. It
// holds no data, knows no token and decides nothing. Each request carries its caller's
// bearer token on to the hub's gRPC services, which authenticate it, admit the read, write
// the leaf and reduce what leaves; the door only says it in XML. So a subscription of
// another third party is as absent here as there.
//
// One identifier, the consent's, is the subscription, the authorization and the retail
// customer. Usage points are named per consent (see espi.Names), so that no address holds
// anything of a person.
//
// The resources stand below two prefixes, [Prefixes], since clients in the field have the
// second one built in; each answers with addresses below the prefix it was asked by.
//
// What the standard leaves open: published-min and published-max cut the readings, which
// is how clients use them, to what is granted; a read beyond it is not refused, it gives
// less. Data that a consent covers and that has not come yet is answered with 202 and
// Retry-After.
package greenbutton
