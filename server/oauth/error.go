package oauth

import "strings"

// Error is what a third party did wrong, in the terms of OAuth: a code of the standards
// and words for its developer. The words name parameters, function blocks and fields, and
// never repeat anything else that was sent.
type Error struct {
	Code        string
	Description string
}

func (e *Error) Error() string { return "oauth: " + e.Code + ": " + e.Description }

// The codes of errors: RFC 6749, sections 4.1.2.1 and 5.2, RFC 9396, section 5, and OpenID
// Connect Core, section 3.1.2.6.
const (
	CodeInvalidRequest      = "invalid_request"
	CodeInvalidScope        = "invalid_scope"
	CodeInvalidDetails      = "invalid_authorization_details"
	CodeUnauthorizedClient  = "unauthorized_client"
	CodeUnsupportedResponse = "unsupported_response_type"
	CodeRequestNotSupported = "request_not_supported"
	CodeAccessDenied        = "access_denied"
	CodeServerError         = "server_error"
	CodeUnavailable         = "temporarily_unavailable"
)

func problem(code string, words ...string) *Error {
	return &Error{Code: code, Description: strings.Join(words, "")}
}

// shown returns a name that a client has made up, if it can stand in a description:
// letters and underscores, not too long.
func shown(name string) string {
	if len(name) == 0 || len(name) > 32 {
		return "one of another name"
	}
	for _, c := range []byte(name) {
		if (c|0x20 < 'a' || c|0x20 > 'z') && c != '_' {
			return "one of another name"
		}
	}
	return name
}
