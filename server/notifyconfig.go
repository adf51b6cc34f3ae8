package server

import (
	"cmp"
	"crypto/x509"
	"fmt"
	"net/netip"
	"path/filepath"
	"time"

	"github.com/wattveil/wattveil/server/notify"
)

// NotifyConfig says how third parties are told of changes, and whom the hub calls for that.
type NotifyConfig struct {
	// SweepEvery is how often it is looked for readings that came under each third party's
	// consents; 5 min if zero.
	SweepEvery time.Duration `yaml:"sweep_every"`
	// Keep is how long notifications can be pulled; 30 days if zero.
	Keep time.Duration `yaml:"keep"`
	// GiveUpAfter is how long an endpoint may take nothing before it is called no more;
	// three days if zero.
	GiveUpAfter time.Duration `yaml:"give_up_after"`
	// Timeout bounds one call; 10 s if zero.
	Timeout time.Duration `yaml:"timeout"`
	// Calls is how many of each sort, to who is well, slow or failing, are made at once; 128
	// if zero.
	Calls int `yaml:"calls"`
	// Ports that may be called; 443 and 8443 if empty.
	Ports []uint16 `yaml:"ports"`
	// AllowHTTP lets third parties be told without TLS, for a sandbox.
	AllowHTTP bool `yaml:"allow_http"`
	// AllowNetworks are networks that may be called although they are not public, such as
	// 10.20.0.0/16.
	AllowNetworks []string `yaml:"allow_networks"`
	// CAFile verifies receivers; the system's roots if empty.
	CAFile string `yaml:"ca_file"`
	// KeyLifetime is how old the key that calls are signed with becomes before the next is
	// made; 180 days if zero. KeyOverlap is how long the next is published before it signs,
	// and the one before after that; seven days if zero.
	KeyLifetime time.Duration `yaml:"key_lifetime"`
	KeyOverlap  time.Duration `yaml:"key_overlap"`
}

const aDay = 24 * time.Hour

func (n *NotifyConfig) setDefaults() {
	n.SweepEvery = cmp.Or(n.SweepEvery, 5*time.Minute)
	n.Keep = cmp.Or(n.Keep, 30*aDay)
	n.GiveUpAfter = cmp.Or(n.GiveUpAfter, notify.DefaultGiveUp)
	n.Timeout = cmp.Or(n.Timeout, 10*time.Second)
	n.Calls = cmp.Or(n.Calls, 128)
	n.KeyLifetime = cmp.Or(n.KeyLifetime, 180*aDay)
	n.KeyOverlap = cmp.Or(n.KeyOverlap, 7*aDay)
	if len(n.Ports) == 0 {
		n.Ports = []uint16{443, 8443}
	}
}

func (n *NotifyConfig) resolve(dir string) {
	if n.CAFile != "" && !filepath.IsAbs(n.CAFile) {
		n.CAFile = filepath.Join(dir, n.CAFile)
	}
}

func (n *NotifyConfig) problem() string {
	switch {
	case n.SweepEvery < 10*time.Second || n.SweepEvery > aDay:
		return "notify.sweep_every must be between 10s and 24h"
	case n.Keep < n.GiveUpAfter || n.Keep > 366*aDay:
		return "notify.keep must be between notify.give_up_after and 366 days"
	case n.GiveUpAfter < time.Minute:
		return "notify.give_up_after must be at least 1m"
	case n.Timeout < 100*time.Millisecond || n.Timeout > time.Minute:
		return "notify.timeout must be between 100ms and 1m"
	case n.Calls < 1 || n.Calls > 4096:
		return "notify.calls must be between 1 and 4096"
	case n.KeyOverlap < time.Hour || n.KeyOverlap >= n.KeyLifetime || n.KeyLifetime > 3650*aDay:
		return "notify.key_overlap must be at least 1h and shorter than notify.key_lifetime"
	}
	for _, p := range n.Ports {
		if p == 0 {
			return "notify.ports must be ports"
		}
	}
	if _, err := n.networks(); err != nil {
		return "notify.allow_networks must be networks such as 10.20.0.0/16"
	}
	return ""
}

func (n *NotifyConfig) networks() (out []netip.Prefix, err error) {
	for _, s := range n.AllowNetworks {
		p, err := netip.ParsePrefix(s)
		if err != nil || p != p.Masked() {
			return nil, fmt.Errorf("%w: notify.allow_networks", ErrConfig)
		}
		out = append(out, p)
	}
	return out, nil
}

// roots are the authorities that receivers are verified with; nil for the system's.
func (n *NotifyConfig) roots() (*x509.CertPool, error) {
	if n.CAFile == "" {
		return nil, nil
	}
	pool, err := readPool(n.CAFile)
	if err != nil {
		return nil, fmt.Errorf("%w: notify.ca_file: %w", ErrConfig, err)
	}
	return pool, nil
}
