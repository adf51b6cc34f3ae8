package server

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"github.com/grpc-ecosystem/grpc-gateway/v2/utilities"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// unknownParameter names the parameters that there are; the one that was given is not
// repeated, whatever it is.
func unknownParameter(known []string) error {
	return invalid("unknown_parameter", "a query parameter is not known; there are "+strings.Join(known, ", "))
}

// queryParser reads query parameters into a message as the gateway does, and says which
// one is wrong. One that is not known is an error, where the gateway passes over it: a
// misspelt "until" must not be a read of all.
type queryParser struct{ runtime.DefaultQueryParser }

// parseQueries makes every gateway of this process read its queries so; the gateway keeps
// one parser for all.
var parseQueries = sync.OnceFunc(func() { runtime.SetQueryParameterParser(&queryParser{})(nil) })

// Parse implements runtime.QueryParameterParser. The gateway keeps of an error only its
// text, out of which parameterFault makes one again.
func (p *queryParser) Parse(into proto.Message, values url.Values, filter *utilities.DoubleArray) error {
	fields := into.ProtoReflect().Descriptor().Fields()
	for name, given := range values {
		first, _, _ := strings.Cut(name, ".")
		if fields.ByTextName(first) == nil && fields.ByJSONName(first) == nil {
			return fmt.Errorf("%s %s", faultUnknown, strings.Join(fieldNames(fields), ", "))
		}
		alone := into.ProtoReflect().New().Interface()
		if err := p.DefaultQueryParser.Parse(alone, url.Values{name: given}, filter); err != nil {
			if !parameterName.MatchString(name) {
				return err
			}
			return fmt.Errorf("%s %s", faultValue, name)
		}
	}
	return p.DefaultQueryParser.Parse(into, values, filter)
}

func fieldNames(fields protoreflect.FieldDescriptors) (names []string) {
	for i := range fields.Len() {
		names = append(names, string(fields.Get(i).Name()))
	}
	slices.Sort(names)
	return names
}

// How the parser's errors begin.
const (
	faultUnknown = "wattveil: unknown parameter; known are"
	faultValue   = "wattveil: value of parameter"
)

var (
	parameterName = regexp.MustCompile(`^[a-z_.]{1,64}$`)
	pathFault     = regexp.MustCompile(`^type mismatch, parameter: ([a-z_.]{1,64}), error: `)
)

// parameterFault makes of what the gateway says about a parameter an error that names it.
// Whatever else it says comes back as it is.
func parameterFault(err error) error {
	s, ok := status.FromError(err)
	if !ok || s.Code() != codes.InvalidArgument || len(s.Details()) > 0 {
		return err
	}
	badValue := invalid("bad_parameter", "the value of a parameter does not parse")
	if known, ok := strings.CutPrefix(s.Message(), faultUnknown+" "); ok {
		return unknownParameter(strings.Split(known, ", "))
	}
	if name, ok := strings.CutPrefix(s.Message(), faultValue+" "); ok {
		return about(name, badValue)
	}
	if m := pathFault.FindStringSubmatch(s.Message()); m != nil {
		return about(m[1], badValue)
	}
	return err
}
