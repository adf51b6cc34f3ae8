package main

import (
	"fmt"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"
)

// hubFlags say which hub to call, and as whom.
type hubFlags struct{ hub, cert, key, ca string }

// add adds the flags; the client's key is named apart where --key is taken.
func (f *hubFlags) add(cmd *cobra.Command, whose, keyFlag string) {
	cmd.Flags().StringVar(&f.hub, "hub", "", "the hub's gRPC address, host:port")
	cmd.Flags().StringVar(&f.cert, "cert", "", whose+" client certificate (PEM)")
	cmd.Flags().StringVar(&f.key, keyFlag, "", "its key (PEM)")
	cmd.Flags().StringVar(&f.ca, "ca", "", "the hub's certificate authority (PEM)")
	for _, name := range []string{"hub", "cert", keyFlag, "ca"} {
		if err := cmd.MarkFlagRequired(name); err != nil {
			panic(err) // the flag was defined above
		}
	}
}

// dial connects, after a greeting that tells at once of certificates that do not
// fit.
func (f *hubFlags) dial(cmd *cobra.Command) (*grpc.ClientConn, error) {
	tlsConfig, err := clientTLS(f.cert, f.key, f.ca)
	if err != nil {
		return nil, err
	}
	if err := greet(cmd.Context(), f.hub, tlsConfig); err != nil {
		return nil, fmt.Errorf("greeting the hub: %w", err)
	}
	conn, err := dial(f.hub, tlsConfig)
	if err != nil {
		return nil, fmt.Errorf("connecting: %w", err)
	}
	return conn, nil
}
