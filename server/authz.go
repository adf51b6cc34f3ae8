package server

import "github.com/wattveil/wattveil/server/store"

// Rule is a row of the authorisation matrix.
type Rule struct {
	// By are the roles whose process answers the call; another one says so.
	By roleSet
	// For are the kinds of callers that may make it at all.
	For Kind
}

// Matrix is the authorisation matrix: for every RPC, which part of the hub answers
// it, and to what kinds of callers. A method that is not in it is refused to
// everyone, and a test fails if a registered method has no row. It is a statement of
// policy: do not widen a row to make a test pass.
var Matrix = map[string]Rule{
	"/wattveil.v1.MeterService/Submit":       {onIngest, UtilityKind},
	"/wattveil.v1.MeterService/Completeness": {onAccess, UtilityKind},

	"/wattveil.v1.RegistryService/PutUtilities":     {onAccess, OperatorKind},
	"/wattveil.v1.RegistryService/PutGridNodes":     {onAccess, OperatorKind},
	"/wattveil.v1.RegistryService/ListGridNodes":    {onAccess, everyone},
	"/wattveil.v1.RegistryService/PutUsagePoints":   {onAccess, OperatorKind},
	"/wattveil.v1.RegistryService/CreateHouseholds": {onAccess, OperatorKind},
	"/wattveil.v1.RegistryService/MoveOut":          {onAccess, OperatorKind},
	"/wattveil.v1.RegistryService/AddUsagePoints":   {onAccess, OperatorKind},
	"/wattveil.v1.RegistryService/IssueLetterCode":  {onAccess, OperatorKind},
	"/wattveil.v1.RegistryService/PutRecipients":    {onAccess, OperatorKind},
	"/wattveil.v1.RegistryService/EraseHousehold":   {onAccess, OperatorKind},
	"/wattveil.v1.RegistryService/GetKeyStatus":     {onKeyguard, OperatorKind},
	"/wattveil.v1.RegistryService/RotateKeys":       {onKeyguard, OperatorKind},

	"/wattveil.v1.ConsentService/RequestConsent": {onAccess, RecipientKind},
	"/wattveil.v1.ConsentService/GetConsent":     {onAccess, RecipientKind | HouseholdKind},
	"/wattveil.v1.ConsentService/ListConsents":   {onAccess, RecipientKind | HouseholdKind},
	"/wattveil.v1.ConsentService/GrantConsent":   {onAccess, HouseholdKind},
	"/wattveil.v1.ConsentService/DenyConsent":    {onAccess, HouseholdKind},
	"/wattveil.v1.ConsentService/RevokeConsent":  {onAccess, HouseholdKind},
	"/wattveil.v1.ConsentService/NarrowConsent":  {onAccess, HouseholdKind},

	"/wattveil.v1.ConsentService/GetConsentReceipt": {onAccess, RecipientKind | HouseholdKind},
	// Who holds a receipt's address may see what it is about and revoke it, whoever it is.
	"/wattveil.v1.ConsentService/OpenReceipt":     {onAccess, Public | HouseholdKind},
	"/wattveil.v1.ConsentService/RevokeByReceipt": {onAccess, Public | HouseholdKind},

	"/wattveil.v1.ConsentService/WithdrawConsent":  {onAccess, RecipientKind},
	"/wattveil.v1.ConsentService/TerminateConsent": {onAccess, OperatorKind | RegulatorKind},
	"/wattveil.v1.ConsentService/SuspendConsent":   {onAccess, OperatorKind | RegulatorKind},
	"/wattveil.v1.ConsentService/ResumeConsent":    {onAccess, OperatorKind | RegulatorKind},

	"/wattveil.v1.ReadingService/ReadSeries":      {onAccess, RecipientKind},
	"/wattveil.v1.ReadingService/ReadOwnSeries":   {onAccess, HouseholdKind},
	"/wattveil.v1.ReadingService/ReadChanges":     {onAccess, RecipientKind},
	"/wattveil.v1.ReadingService/StreamSeries":    {onAccess, RecipientKind},
	"/wattveil.v1.ReadingService/StreamOwnSeries": {onAccess, HouseholdKind},

	"/wattveil.v1.NotificationService/PutEndpoint":           {onAccess, RecipientKind},
	"/wattveil.v1.NotificationService/GetEndpoint":           {onAccess, RecipientKind},
	"/wattveil.v1.NotificationService/DeleteEndpoint":        {onAccess, RecipientKind},
	"/wattveil.v1.NotificationService/TestEndpoint":          {onAccess, RecipientKind},
	"/wattveil.v1.NotificationService/ListNotifications":     {onAccess, RecipientKind},
	"/wattveil.v1.NotificationService/ListEndpoints":         {onAccess, OperatorKind},
	"/wattveil.v1.NotificationService/RotateNotificationKey": {onAccess, OperatorKind},

	"/wattveil.v1.ReleaseService/ListReleases": {onRelease, everyone},
	"/wattveil.v1.ReleaseService/GetRelease":   {onRelease, everyone},
	"/wattveil.v1.ReleaseService/GetBudget":    {onRelease, everyone},
	"/wattveil.v1.ReleaseService/GetCatalogue": {onRelease, everyone},

	"/wattveil.v1.AuditService/ListEvents":    {onLedger, HouseholdKind | RecipientKind | RegulatorKind},
	"/wattveil.v1.AuditService/GetReceipt":    {onLedger, HouseholdKind | RecipientKind | RegulatorKind},
	"/wattveil.v1.AuditService/GetCheckpoint": {onLedger, everyone},

	"/wattveil.v1.AuditService/GetLedgerKeys":      {onLedger, everyone},
	"/wattveil.v1.AuditService/RotateLedgerKeys":   {onLedger, OperatorKind},
	"/wattveil.v1.AuditService/ListCheckpoints":    {onLedger, everyone},
	"/wattveil.v1.AuditService/GetHouseholdRecord": {onLedger, HouseholdKind},
	"/wattveil.v1.AuditService/PutEnvelopeKey":     {onLedger, RegulatorKind},
	"/wattveil.v1.AuditService/ListEnvelopeKeys":   {onLedger, RegulatorKind | OperatorKind},
	"/wattveil.v1.AuditService/ListRecords":        {onLedger, RegulatorKind},
	"/wattveil.v1.AuditService/ListMap":            {onLedger, everyone},

	"/wattveil.v1.SessionService/OpenSession":  {onAccess, Public},
	"/wattveil.v1.SessionService/CloseSession": {onAccess, HouseholdKind},
	"/wattveil.v1.SessionService/GetHousehold": {onAccess, HouseholdKind},

	"/wattveil.v1.SessionService/RotateHouseholdSecret": {onAccess, HouseholdKind},
	"/wattveil.v1.SessionService/EraseOwnHousehold":     {onAccess, HouseholdKind},

	"/wattveil.v1.AuthorizationService/CheckAuthorization":  {onAccess, everyone},
	"/wattveil.v1.AuthorizationService/DecideAuthorization": {onAccess, HouseholdKind},
	"/wattveil.v1.AuthorizationService/GetOwnClient":        {onAccess, RecipientKind},
	"/wattveil.v1.AuthorizationService/ListClients":         {onAccess, OperatorKind},
	"/wattveil.v1.AuthorizationService/PutClient":           {onAccess, OperatorKind},
	"/wattveil.v1.AuthorizationService/ApproveClient":       {onAccess, OperatorKind},
	"/wattveil.v1.AuthorizationService/RefuseClient":        {onAccess, OperatorKind},
	"/wattveil.v1.AuthorizationService/SuspendClient":       {onAccess, OperatorKind},

	// Between the hub's own parts.
	"/wattveil.v1.CheckpointService/Cover": {onLedger, IngestRole | ReleaseRole | AccessRole | KeyguardRole},
	"/wattveil.v1.WindowService/GetWindow": {onRelease, IngestRole},
	"/wattveil.v1.KeyService/BlockKeys":    {onKeyguard, AccessRole},

	"/grpc.health.v1.Health/Check": {allRoles, everyone},
	"/grpc.health.v1.Health/List":  {allRoles, everyone},
	"/grpc.health.v1.Health/Watch": {allRoles, everyone},

	"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo":      {allRoles, everyone},
	"/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": {allRoles, everyone},
}

const everyone = Public | UtilityKind | RecipientKind | HouseholdKind | OperatorKind | RegulatorKind | anyRole

// allowed says whether a caller of this kind may call the method at all.
func allowed(method string, k Kind) bool { return Matrix[method].For&k != 0 }

// Answers reports whether the process of a role answers a call, by its full name such as
// /wattveil.v1.MeterService/Submit.
func Answers(r store.Role, method string) bool {
	s, err := parseRoles([]string{string(r)})
	return err == nil && Matrix[method].By.has(s)
}
