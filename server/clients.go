package server

import (
	"context"

	"google.golang.org/grpc/codes"

	"github.com/wattveil/wattveil/consent"
	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
	"github.com/wattveil/wattveil/server/oauth"
	"github.com/wattveil/wattveil/server/store"
)

// ListClients lists clients, newest first.
func (a *authorizationService) ListClients(ctx context.Context, req *wattveilv1.ListClientsRequest) (*wattveilv1.ListClientsResponse, error) {
	size, err := page(req.GetPageSize(), req.GetPageToken())
	if err != nil {
		return nil, err
	}
	if _, known := wattveilv1.ClientState_name[int32(req.GetState())]; !known {
		return nil, invalid("bad_state", "there is no such state of a client")
	}
	clients, next, err := a.store.ListOAuthClients(ctx, store.OAuthClientState(req.GetState()), req.GetPageToken(), size)
	if err != nil {
		return nil, err
	}
	resp := &wattveilv1.ListClientsResponse{NextPageToken: next}
	for _, c := range clients {
		resp.Clients = append(resp.Clients, clientToWire(c))
	}
	return resp, nil
}

// GetOwnClient shows the calling third party its registration; one that comes by
// certificate alone has none.
func (a *authorizationService) GetOwnClient(ctx context.Context, _ *wattveilv1.GetOwnClientRequest) (*wattveilv1.GetOwnClientResponse, error) {
	c, err := a.store.OAuthClient(ctx, caller(ctx).Recipient())
	if err != nil {
		return nil, err
	}
	return &wattveilv1.GetOwnClientResponse{Client: clientToWire(c)}, nil
}

// PutClient makes an approved client.
func (a *authorizationService) PutClient(ctx context.Context, req *wattveilv1.PutClientRequest) (*wattveilv1.PutClientResponse, error) {
	in := req.GetClient()
	id, err := consent.ParseRecipient(in.GetId())
	if err != nil {
		return nil, badName("client")
	}
	made, secret, err := a.oauth.Make(ctx, id, oauth.Client{
		Name: in.GetName(), AuthMethod: in.GetTokenEndpointAuthMethod(), GrantTypes: in.GetGrantTypes(), RedirectURIs: in.GetRedirectUris(),
		NotifyURI: in.GetNotifyUri(), Purpose: consent.Purpose{Code: in.GetPurpose().GetCode(), Text: in.GetPurpose().GetText()}, Contacts: in.GetContacts(),
	})
	if err != nil {
		return nil, asInput(err)
	}
	c := clientToWire(made)
	return &wattveilv1.PutClientResponse{Client: c, ClientSecret: secret}, a.adopt(ctx, c)
}

// ApproveClient lets a client ask households.
func (a *authorizationService) ApproveClient(ctx context.Context, req *wattveilv1.ApproveClientRequest) (*wattveilv1.ApproveClientResponse, error) {
	c, err := a.decide(ctx, req.GetClientId(), store.OAuthApproved)
	if err == nil {
		err = a.adopt(ctx, c)
	}
	return &wattveilv1.ApproveClientResponse{Client: c}, err
}

// RefuseClient turns a client away.
func (a *authorizationService) RefuseClient(ctx context.Context, req *wattveilv1.RefuseClientRequest) (*wattveilv1.RefuseClientResponse, error) {
	c, err := a.decide(ctx, req.GetClientId(), store.OAuthRefused)
	return &wattveilv1.RefuseClientResponse{Client: c}, err
}

// SuspendClient makes a client's tokens of no use, from the very next call on.
func (a *authorizationService) SuspendClient(ctx context.Context, req *wattveilv1.SuspendClientRequest) (*wattveilv1.SuspendClientResponse, error) {
	c, err := a.decide(ctx, req.GetClientId(), store.OAuthSuspended)
	return &wattveilv1.SuspendClientResponse{Client: c}, err
}

func (a *authorizationService) decide(ctx context.Context, name string, to store.OAuthClientState) (*wattveilv1.Client, error) {
	id, err := consent.ParseRecipient(name)
	if err != nil {
		return nil, badName("client")
	}
	c, err := a.store.DecideOAuthClient(ctx, id, to, a.clock().Unix())
	if err != nil {
		return nil, err
	}
	return clientToWire(c), nil
}

func clientToWire(c store.OAuthClient) *wattveilv1.Client {
	return &wattveilv1.Client{
		Id: string(c.ID), Name: c.Name, State: wattveilv1.ClientState(c.State), TokenEndpointAuthMethod: c.AuthMethod, GrantTypes: c.GrantTypes,
		RedirectUris: c.RedirectURIs, NotifyUri: c.NotifyURI, Purpose: &wattveilv1.Purpose{Code: c.Purpose.Code, Text: c.Purpose.Text},
		Contacts: c.Contacts, CreatedAt: c.CreatedAt, DecidedAt: c.DecidedAt,
	}
}

// underOneConsent are the calls that the token of one household's grant may make: those
// that heed [Principal.Consent]. To any other such a caller is refused, since it would see
// what is the third party's and not of that household.
var underOneConsent = map[string]bool{
	wattveilv1.ConsentService_GetConsent_FullMethodName:   true,
	wattveilv1.ConsentService_ListConsents_FullMethodName: true,
	wattveilv1.ReadingService_ReadSeries_FullMethodName:   true,
	wattveilv1.ReadingService_ReadChanges_FullMethodName:  true,
	wattveilv1.ReadingService_StreamSeries_FullMethodName: true,
}

// errOneConsent answers such a call.
var errOneConsent = &inputError{codes.PermissionDenied, "token_of_one_consent", "the token is of one household's permission; this call needs the client's own"}
