package notify

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Errors of the guard. They hold neither name nor address.
var (
	// ErrURL says that a text is not a URL that is called: https, a host, a port that is
	// allowed, no user, no fragment, at most MaxURL bytes.
	ErrURL = errors.New("notify: not a URL that is called")
	// ErrAddress says that a name leads to an address that a stranger could not call.
	ErrAddress = errors.New("notify: the name leads to an address that is not called")
	// ErrName says that a name does not resolve.
	ErrName = errors.New("notify: the name does not resolve")
)

// MaxURL is the longest URL of an endpoint, in bytes.
const MaxURL = 1024

// Resolver looks names up; *net.Resolver is one.
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// Guard says what may be called. It looks at the addresses that are connected to, and not
// at names: what a name led to yesterday, or a moment ago, does not count. Safe for
// concurrent use.
type Guard struct {
	// Resolver looks names up; the machine's own if nil.
	Resolver Resolver
	// Ports that may be called; 443 if empty.
	Ports []uint16
	// HTTP allows http, for a sandbox: what is told is then read on the way.
	HTTP bool
	// Networks may be called although they are not the public's.
	Networks []netip.Prefix
}

// CheckURL returns nil for a URL whose form is allowed and whose name leads to addresses
// that are called, at this moment: ErrURL, ErrName or ErrAddress tell its owner at once
// what each call would find out.
func (g *Guard) CheckURL(ctx context.Context, raw string) error {
	u, err := url.Parse(raw)
	if err != nil || len(raw) > MaxURL || !visible(raw) || u.Opaque != "" || u.User != nil || strings.Contains(raw, "#") || u.Hostname() == "" || strings.HasSuffix(u.Host, ":") || u.String() != raw {
		return ErrURL
	}
	port := u.Port()
	switch {
	case u.Scheme == "https":
		if port == "" {
			port = "443"
		}
	case u.Scheme == "http" && g.HTTP:
		if port == "" {
			port = "80"
		}
	default:
		return ErrURL
	}
	if !g.allowsPort(port) {
		return ErrURL
	}
	_, err = g.resolve(ctx, u.Hostname())
	return err
}

// visible reports whether s is made of visible ASCII without what RFC 3986 leaves out: what
// is signed is then what is sent.
func visible(s string) bool {
	return !strings.ContainsFunc(s, func(c rune) bool { return c <= ' ' || c >= 0x7f || strings.ContainsRune("\"<>\\^`{|}", c) })
}

func (g *Guard) allowsPort(port string) bool {
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return false
	}
	if len(g.Ports) == 0 {
		return n == 443
	}
	return slices.Contains(g.Ports, uint16(n))
}

// resolve returns the addresses of a host, all of which are called.
func (g *Guard) resolve(ctx context.Context, host string) ([]netip.Addr, error) {
	addrs := []netip.Addr{}
	if literal, err := netip.ParseAddr(host); err == nil {
		addrs = append(addrs, literal)
	} else {
		var r Resolver = net.DefaultResolver
		if g.Resolver != nil {
			r = g.Resolver
		}
		if addrs, err = r.LookupNetIP(ctx, "ip", host); err != nil || len(addrs) == 0 {
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			return nil, ErrName // the resolver's own error quotes the name
		}
	}
	for i, a := range addrs {
		if addrs[i] = a.Unmap(); !g.allows(addrs[i]) {
			return nil, ErrAddress
		}
	}
	return addrs, nil
}

// connectTimeout bounds the connection to one of several addresses.
const connectTimeout = 5 * time.Second

// DialContext connects to an address of a host, as net.Dialer does, after it has looked at
// all that the host has; one that is not called refuses the host. The addresses are the
// very ones that are connected to: the name is looked up once.
func (g *Guard) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil || !g.allowsPort(port) {
		return nil, ErrURL
	}
	addrs, err := g.resolve(ctx, host)
	if err != nil {
		return nil, err
	}
	d := net.Dialer{Timeout: connectTimeout, Control: g.control}
	for _, a := range addrs {
		var conn net.Conn
		if conn, err = d.DialContext(ctx, network, net.JoinHostPort(a.String(), port)); err == nil {
			return conn, nil
		}
	}
	return nil, err
}

// control looks once more, at what the system is about to connect to.
func (g *Guard) control(_, address string, _ syscall.RawConn) error {
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrAddress, err)
	}
	if !g.allows(to.Addr().Unmap()) {
		return ErrAddress
	}
	return nil
}

func (g *Guard) allows(a netip.Addr) bool {
	if slices.ContainsFunc(g.Networks, func(p netip.Prefix) bool { return p.Contains(a) }) {
		return true
	}
	return public(a)
}

// notPublic are the special-purpose addresses of IANA's two registries (RFC 6890), multicast,
// and what leads elsewhere: an IPv6 address that holds an IPv4 address may end up at a
// private one. The last is where a cloud keeps its machines' secrets, at a public address.
var notPublic = prefixes(
	"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24",
	"192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16", "192.175.48.0/24", "198.18.0.0/15", "198.51.100.0/24",
	"203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
	"2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20",
	"168.63.129.16/32",
)

// globalUnicast is all that IANA has given out of IPv6: loopback, mapped and translated
// IPv4, unique local, link local, site local and multicast lie outside.
var globalUnicast = netip.MustParsePrefix("2000::/3")

// public reports whether anybody may call an address, which is not mapped IPv4.
func public(a netip.Addr) bool {
	if !a.IsValid() || a.Zone() != "" || a.Is6() && !globalUnicast.Contains(a) {
		return false
	}
	return !slices.ContainsFunc(notPublic, func(p netip.Prefix) bool { return p.Contains(a) })
}

func prefixes(texts ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(texts))
	for i, t := range texts {
		out[i] = netip.MustParsePrefix(t)
	}
	return out
}
