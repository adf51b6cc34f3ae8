package notify

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"testing"
)

// names is a resolver whose names lead somewhere else each time: to the next of their
// answers, and to the last ever after.
type names map[string][][]string

func (n names) LookupNetIP(_ context.Context, _, host string) (out []netip.Addr, err error) {
	answers := n[host]
	if len(answers) == 0 {
		return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	if len(answers) > 1 {
		n[host] = answers[1:]
	}
	for _, a := range answers[0] {
		out = append(out, netip.MustParseAddr(a))
	}
	return out, nil
}

// Whom the hub calls: what anybody could call, and nobody inside. The addresses are those
// of the two registries of special purposes and of clouds' metadata.
func TestWhoIsCalled(t *testing.T) {
	g := &Guard{}
	allow := func(addrs ...string) {
		t.Helper()
		for _, a := range addrs {
			if !g.allows(netip.MustParseAddr(a).Unmap()) {
				t.Errorf("%s is not called", a)
			}
		}
	}
	deny := func(what string, addrs ...string) {
		t.Helper()
		for _, a := range addrs {
			if g.allows(netip.MustParseAddr(a).Unmap()) {
				t.Errorf("%s, %s, is called", a, what)
			}
		}
	}
	allow("93.184.215.14", "1.1.1.1", "100.63.255.255", "100.128.0.1", "172.15.0.1", "172.32.0.1", "9.255.255.255", "11.0.0.1", "223.255.255.255", "::ffff:1.1.1.1")
	allow("2606:4700:4700::1111", "2a00:1450::1", "2001:200::1", "2003::1")
	deny("this machine", "127.0.0.1", "127.255.255.254", "::1", "0.0.0.0", "0.1.2.3", "::")
	deny("a private network", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "fc00::1", "fd12:3456::1", "fec0::1")
	deny("this link", "169.254.0.1", "fe80::1", "fe80::1%eth0")
	deny("metadata of a cloud", "169.254.169.254", "169.254.170.2", "fd00:ec2::254", "100.100.100.200", "192.0.0.192", "168.63.129.16")
	deny("behind a carrier's translation", "100.64.0.1", "100.127.255.255")
	deny("many at once", "224.0.0.1", "239.255.255.255", "ff02::1", "255.255.255.255", "240.0.0.1")
	deny("for documents and measurements", "192.0.2.1", "198.51.100.1", "203.0.113.1", "198.18.0.1", "2001:db8::1", "3fff::1")
	deny("IPv4 in IPv6", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b:1::1", "2002:7f00:1::1", "2001:0:1::1")
	g.Networks = []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")}
	allow("10.1.2.3", "::ffff:10.1.2.3")
	deny("another private network", "10.2.0.1")
}

// What may stand in the place of an endpoint's URL.
func TestCheckURL(t *testing.T) {
	g := &Guard{Ports: []uint16{443, 8443}, Resolver: names{
		"a.example": {{"93.184.215.14", "2606:4700::1"}}, "inside.example": {{"10.0.0.1"}}, "half.example": {{"93.184.215.14", "127.0.0.1"}}, "empty.example": {{}},
		"127.1": {{"127.0.0.1"}},
	}}
	for raw, want := range map[string]error{
		"https://a.example": nil, "https://a.example/hook?x=1": nil, "https://a.example:8443/": nil, "https://93.184.215.14/hook": nil, "https://[2606:4700::1]/": nil,
		"http://a.example/": ErrURL, "ftp://a.example/": ErrURL, "sftp://a.example/x": ErrURL, "//a.example/": ErrURL, "a.example": ErrURL, "": ErrURL, "https:///x": ErrURL, "https:a.example": ErrURL,
		"https://a.example:22/": ErrURL, "https://a.example:0/": ErrURL, "https://a.example:/": ErrURL, "https://u@a.example/": ErrURL, "https://u:p@a.example/": ErrURL,
		"https://a.example/#x": ErrURL, "https://a.example/#": ErrURL, "https://a.example/a b": ErrURL, "https://a.example/ä": ErrURL, "https://a.example/\"": ErrURL, "HTTPS://a.example/": ErrURL,
		"https://inside.example/": ErrAddress, "https://half.example/": ErrAddress, "https://127.0.0.1/": ErrAddress, "https://[::1]/": ErrAddress, "https://[::ffff:10.0.0.1]/": ErrAddress, "https://127.1/": ErrAddress,
		"https://nowhere.example/": ErrName, "https://empty.example/": ErrName, "https://2130706433/": ErrName,
		"https://a.example/" + string(make([]byte, MaxURL)): ErrURL,
	} {
		if err := g.CheckURL(t.Context(), raw); !errors.Is(err, want) || want == nil && err != nil {
			t.Errorf("%q: %v, want %v", raw, err, want)
		}
	}
	g.HTTP, g.Ports = true, []uint16{80, 443}
	if err := g.CheckURL(t.Context(), "http://a.example/"); err != nil {
		t.Errorf("http in a sandbox: %v", err)
	}
}

// A name that led to a public address when its owner put it leads inside when it is called:
// nothing connects. It would catch a guard that believes what a name once led to.
func TestRebinding(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ok(t, err)
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	ok(t, err)
	n, err := strconv.Atoi(port)
	ok(t, err)
	accepted := make(chan struct{}, 1)
	go func() {
		if conn, err := l.Accept(); err == nil {
			_ = conn.Close()
			accepted <- struct{}{}
		}
	}()
	g := &Guard{Ports: []uint16{uint16(n)}, Resolver: names{"rebound.example": {{"93.184.215.14"}, {"127.0.0.1"}}}}
	ok(t, g.CheckURL(t.Context(), "https://rebound.example:"+port+"/"))
	if _, err := g.DialContext(t.Context(), "tcp", "rebound.example:"+port); !errors.Is(err, ErrAddress) {
		t.Errorf("connecting to the second answer: %v, want ErrAddress", err)
	}
	// What looks at the socket refuses by itself, whatever was looked at before.
	if err := g.control("tcp4", l.Addr().String(), nil); !errors.Is(err, ErrAddress) {
		t.Errorf("at the socket: %v", err)
	}
	if _, err := g.DialContext(t.Context(), "tcp", "rebound.example:1"); !errors.Is(err, ErrURL) {
		t.Errorf("another port: %v", err)
	}
	select {
	case <-accepted:
		t.Error("something connected")
	default:
	}
	g.Networks = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	conn, err := g.DialContext(t.Context(), "tcp", "rebound.example:"+port)
	ok(t, err)
	_ = conn.Close()
	<-accepted
}

// everywhere is a resolver under which every name leads to a public address.
type everywhere struct{}

func (everywhere) LookupNetIP(context.Context, string, string) ([]netip.Addr, error) {
	return []netip.Addr{netip.MustParseAddr("93.184.215.14")}, nil
}

// Whatever is accepted can be called as it stands, over TLS, at a host that the guard sees
// and a port that it allows: a text that two readers would read as two URLs is not.
func FuzzCheckURL(f *testing.F) {
	for _, s := range []string{"https://a.example/hook?x=1", "https://a.example:8443", "https://u@a.example", "https://[::1]/", "https://a.example\\@b/", "https://127.1/", "https:/a", "https://a.example:443#x"} {
		f.Add(s)
	}
	g := &Guard{Resolver: everywhere{}, Ports: []uint16{443, 8443}}
	f.Fuzz(func(t *testing.T, raw string) {
		if g.CheckURL(t.Context(), raw) != nil {
			return
		}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, raw, nil)
		if err != nil {
			t.Fatalf("%q is accepted and cannot be called: %v", raw, err)
		}
		u := req.URL
		port := u.Port()
		if u.Scheme != "https" || u.User != nil || u.Fragment != "" || u.Hostname() == "" || port != "" && port != "443" && port != "8443" || u.String() != raw {
			t.Errorf("%q is accepted and called at %s", raw, u)
		}
		if addr, err := netip.ParseAddr(u.Hostname()); err == nil && !public(addr.Unmap()) {
			t.Errorf("%q is accepted", raw)
		}
	})
}
