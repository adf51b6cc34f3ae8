package espi

// The statuses of an Authorization, to which every state of a consent comes down.
const (
	Revoked int64 = 0 // ended after it was granted, however
	Active  int64 = 1
	Denied  int64 = 2
)

// Authorization is a resource: a consent, as the third party that has it sees it.
// It names nobody, and tokens are never in it, neither written nor kept when read.
type Authorization struct {
	Authorized       *Period // when the third party may ask; Duration 0: without an end
	Published        *Period // of what time the data may be
	Status           int64
	ExpiresAt        int64 // unix seconds, of the access token
	GrantType        string
	Scope            string // at most 256 characters: a longer one cannot be said
	TokenType        string // Bearer
	Error            string // RFC 6749
	ErrorDescription string
	ErrorURI         string
	ResourceURI      string // Site.Batch
	AuthorizationURI string // Site.Authorization
	CustomerURI      string // Site.RetailCustomer; empty where no data of persons is to be had
}

func (*Authorization) element() string { return "Authorization" }
func (a *Authorization) fields() []field {
	return []field{
		{name: "authorizedPeriod", at: one[Period, *Period]{&a.Authorized}},
		{name: "publishedPeriod", at: one[Period, *Period]{&a.Published}},
		{name: "status", at: &a.Status},
		{name: "expires_at", at: &a.ExpiresAt},
		{name: "grant_type", at: &a.GrantType, max: 32},
		{name: "scope", at: &a.Scope, max: 256, always: true},
		{name: "token_type", at: &a.TokenType, max: 32, always: true},
		{name: "error", at: &a.Error, max: 32},
		{name: "error_description", at: &a.ErrorDescription, max: 256},
		{name: "error_uri", at: &a.ErrorURI},
		{name: "resourceURI", at: &a.ResourceURI, always: true},
		{name: "authorizationURI", at: &a.AuthorizationURI, always: true},
		{name: "customerResourceURI", at: &a.CustomerURI},
	}
}

// ApplicationInformation is a resource: a third party's registration. The schema
// asks for client_secret and registration_access_token; they are written empty,
// since a hub that keeps hashes has no more to say, and are not kept when read.
type ApplicationInformation struct {
	DataCustodianID       string
	CustodianStatus       int64 // 1 review, 2 production, 3 on hold, 4 revoked
	Description           string
	Status                *int64 // 1 development, 2 test, 3 production, 4 retired
	Type                  *int64 // 1 web, 2 desktop, 3 mobile, 4 device
	Use                   *int64 // 1 energy management, 2 comparisons, 3 government, 4 academic, 5 law enforcement
	Phone                 string
	AuthorizationServer   string
	NotifyURI             string
	AuthorizationEndpoint string
	RegistrationEndpoint  string
	TokenEndpoint         string
	BulkRequestURI        string
	ResourceEndpoint      string
	ScopeSelectionURI     string // of the third party; ESPI 3.3 asks for the element
	UserPortalURI         string
	LogoURI               string
	ClientName            string
	ClientURI             string
	RedirectURIs          []string // at least one
	ClientID              string
	TermsURI              string
	PolicyURI             string
	SoftwareID            string
	SoftwareVersion       string
	ClientIssuedAt        int64 // unix seconds
	SecretExpiresAt       int64 // unix seconds; 0: never
	Contacts              []string
	TokenAuthMethod       string   // client_secret_basic
	Scopes                []string // at least one
	GrantTypes            []string // at least two
	ResponseTypes         string   // code
	RegistrationURI       string
	CustodianScopeURI     string // the data custodian's own; ESPI 3.3 asks for the element
}

func (*ApplicationInformation) element() string { return "ApplicationInformation" }
func (a *ApplicationInformation) fields() []field {
	secret, token := "", ""
	return []field{
		{name: "dataCustodianId", at: &a.DataCustodianID, max: 64, always: true},
		{name: "dataCustodianApplicationStatus", at: &a.CustodianStatus},
		{name: "thirdPartyApplicationDescription", at: &a.Description, max: 256},
		{name: "thirdPartyApplicationStatus", at: &a.Status},
		{name: "thirdPartyApplicationType", at: &a.Type},
		{name: "thirdPartyApplicationUse", at: &a.Use},
		{name: "thirdPartyPhone", at: &a.Phone, max: 32},
		{name: "authorizationServerUri", at: &a.AuthorizationServer},
		{name: "thirdPartyNotifyUri", at: &a.NotifyURI, always: true},
		{name: "authorizationServerAuthorizationEndpoint", at: &a.AuthorizationEndpoint, always: true},
		{name: "authorizationServerRegistrationEndpoint", at: &a.RegistrationEndpoint},
		{name: "authorizationServerTokenEndpoint", at: &a.TokenEndpoint, always: true},
		{name: "dataCustodianBulkRequestURI", at: &a.BulkRequestURI, always: true},
		{name: "dataCustodianResourceEndpoint", at: &a.ResourceEndpoint, always: true},
		{name: "thirdPartyScopeSelectionScreenURI", at: &a.ScopeSelectionURI, always: true},
		{name: "thirdPartyUserPortalScreenURI", at: &a.UserPortalURI},
		{name: "client_secret", at: &secret, always: true},
		{name: "logo_uri", at: &a.LogoURI},
		{name: "client_name", at: &a.ClientName, max: 256, always: true},
		{name: "client_uri", at: &a.ClientURI},
		{name: "redirect_uri", at: &a.RedirectURIs},
		{name: "client_id", at: &a.ClientID, max: 64, always: true},
		{name: "tos_uri", at: &a.TermsURI},
		{name: "policy_uri", at: &a.PolicyURI},
		{name: "software_id", at: &a.SoftwareID, max: 256, always: true},
		{name: "software_version", at: &a.SoftwareVersion, max: 32, always: true},
		{name: "client_id_issued_at", at: &a.ClientIssuedAt},
		{name: "client_secret_expires_at", at: &a.SecretExpiresAt},
		{name: "contacts", at: &a.Contacts, max: 256},
		{name: "token_endpoint_auth_method", at: &a.TokenAuthMethod, max: 32, always: true},
		{name: "scope", at: &a.Scopes, max: 256},
		{name: "grant_types", at: &a.GrantTypes, max: 32},
		{name: "response_types", at: &a.ResponseTypes, max: 32, always: true},
		{name: "registration_client_uri", at: &a.RegistrationURI, always: true},
		{name: "registration_access_token", at: &token, always: true},
		{name: "dataCustodianScopeSelectionScreenURI", at: &a.CustodianScopeURI, always: true},
	}
}

// ServiceStatus is a resource that stands by itself, outside Atom.
type ServiceStatus struct{ Current int64 } // 0 unavailable, 1 normal

func (*ServiceStatus) element() string { return "ServiceStatus" }
func (s *ServiceStatus) fields() []field {
	return []field{{name: "currentStatus", at: &s.Current}}
}

// BatchList is a resource that stands by itself: the addresses at which a third
// party finds what is new. It is the body of a notification, and holds no reading.
type BatchList struct{ Resources []string }

func (*BatchList) element() string   { return "BatchList" }
func (b *BatchList) fields() []field { return []field{{name: "resources", at: &b.Resources}} }
