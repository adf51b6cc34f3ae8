package server

// Matrix is the authorisation matrix: for every RPC, the kinds of callers that
// may call it at all. A method that is not in it is refused to everyone, and a
// test fails if a registered method has no row. It is a statement of policy: do
// not widen a row to make a test pass.
var Matrix = map[string]Kind{
	"/wattveil.v1.MeterService/Submit":       UtilityKind,
	"/wattveil.v1.MeterService/Completeness": UtilityKind,

	"/wattveil.v1.RegistryService/PutUtilities":     OperatorKind,
	"/wattveil.v1.RegistryService/PutGridNodes":     OperatorKind,
	"/wattveil.v1.RegistryService/ListGridNodes":    everyone,
	"/wattveil.v1.RegistryService/PutUsagePoints":   OperatorKind,
	"/wattveil.v1.RegistryService/CreateHouseholds": OperatorKind,
	"/wattveil.v1.RegistryService/MoveOut":          OperatorKind,
	"/wattveil.v1.RegistryService/IssueLetterCode":  OperatorKind,
	"/wattveil.v1.RegistryService/PutRecipients":    OperatorKind,
	"/wattveil.v1.RegistryService/EraseHousehold":   OperatorKind,
	"/wattveil.v1.RegistryService/GetKeyStatus":     OperatorKind,
	"/wattveil.v1.RegistryService/RotateKeys":       OperatorKind,

	"/wattveil.v1.ConsentService/RequestConsent": RecipientKind,
	"/wattveil.v1.ConsentService/GetConsent":     RecipientKind | HouseholdKind,
	"/wattveil.v1.ConsentService/ListConsents":   RecipientKind | HouseholdKind,
	"/wattveil.v1.ConsentService/GrantConsent":   HouseholdKind,
	"/wattveil.v1.ConsentService/DenyConsent":    HouseholdKind,
	"/wattveil.v1.ConsentService/RevokeConsent":  HouseholdKind,
	"/wattveil.v1.ConsentService/NarrowConsent":  HouseholdKind,

	"/wattveil.v1.ReadingService/ReadSeries":    RecipientKind,
	"/wattveil.v1.ReadingService/ReadOwnSeries": HouseholdKind,

	"/wattveil.v1.ReleaseService/ListReleases": everyone,
	"/wattveil.v1.ReleaseService/GetRelease":   everyone,
	"/wattveil.v1.ReleaseService/GetBudget":    everyone,
	"/wattveil.v1.ReleaseService/GetCatalogue": everyone,

	"/wattveil.v1.AuditService/ListEvents":    HouseholdKind | RecipientKind | RegulatorKind,
	"/wattveil.v1.AuditService/GetReceipt":    HouseholdKind | RecipientKind | RegulatorKind,
	"/wattveil.v1.AuditService/GetCheckpoint": everyone,

	"/wattveil.v1.AuditService/ListCheckpoints":    everyone,
	"/wattveil.v1.AuditService/GetHouseholdRecord": HouseholdKind,
	"/wattveil.v1.AuditService/PutEnvelopeKey":     RegulatorKind,
	"/wattveil.v1.AuditService/ListEnvelopeKeys":   RegulatorKind | OperatorKind,
	"/wattveil.v1.AuditService/ListRecords":        RegulatorKind,
	"/wattveil.v1.AuditService/ListMap":            everyone,

	"/wattveil.v1.SessionService/OpenSession":  Public,
	"/wattveil.v1.SessionService/CloseSession": HouseholdKind,
	"/wattveil.v1.SessionService/GetHousehold": HouseholdKind,

	"/wattveil.v1.SessionService/RotateHouseholdSecret": HouseholdKind,
	"/wattveil.v1.SessionService/EraseOwnHousehold":     HouseholdKind,

	"/wattveil.v1.KeyService/BlockKeys": AccessRole,

	"/grpc.health.v1.Health/Check": everyone,
	"/grpc.health.v1.Health/List":  everyone,
	"/grpc.health.v1.Health/Watch": everyone,

	"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo":      everyone,
	"/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": everyone,
}

const everyone = Public | UtilityKind | RecipientKind | HouseholdKind | OperatorKind | RegulatorKind | AccessRole

// allowed says whether a caller of this kind may call the method at all.
func allowed(method string, k Kind) bool { return Matrix[method]&k != 0 }
