package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/lib/pq"
)

// Role is a part of the hub that may run as a process of its own, and then logs in
// to PostgreSQL as a user of its own. SQLite knows no users.
type Role string

// The roles.
const (
	RoleIngest   Role = "ingest"
	RoleRelease  Role = "release"
	RoleAccess   Role = "access"
	RoleKeyguard Role = "keyguard"
	RoleLedger   Role = "ledger"
	RolePortal   Role = "portal" // a client of the others: nothing in SQL
)

// Roles are all roles.
func Roles() []Role {
	return []Role{RoleIngest, RoleRelease, RoleAccess, RoleKeyguard, RoleLedger, RolePortal}
}

// Group is the database role that holds a role's grants. It cannot log in; the users
// of the role's processes are members of it. It is shared by all databases of a
// server, as every role of PostgreSQL is.
func (r Role) Group() string { return "wattveil_" + string(r) }

// ErrGroups says that some roles have a group in the database and some have none. No
// group at all is well: one user does everything then.
var ErrGroups = errors.New("store: not every role has its group in the database: an administrator runs docs/roles.sql")

// privileges is what a role may do with a table, as GRANT writes it: verbs, some with
// a list of columns.
type privileges = map[Role]string

// grants say what each role's statements execute, table by table, and no more. A
// statement that reads a column in WHERE or ON CONFLICT needs to SELECT it, one that
// ends in FOR UPDATE or FOR SHARE needs to UPDATE some column.
//
// A table that nobody but the owner touches is here all the same, so that one that
// was forgotten is found out. Partitions are not: no grant is on them.
var grants = map[string]privileges{
	"schema_migrations": {
		RoleIngest: "SELECT", RoleRelease: "SELECT", RoleAccess: "SELECT", RoleKeyguard: "SELECT", RoleLedger: "SELECT",
	},
	"hub_secrets": { // each its own, by rowGrants; one role wraps all of them anew, and opens none
		RoleIngest: "SELECT, INSERT", RoleRelease: "SELECT, INSERT", RoleAccess: "SELECT, INSERT", RoleLedger: "SELECT, INSERT, DELETE",
		RoleKeyguard: "SELECT (name, generation, wrapped), UPDATE (wrapped)",
	},

	// The register.
	"utilities":  {RoleIngest: "SELECT (id)", RoleAccess: "SELECT, INSERT, UPDATE (name)"},
	"recipients": {RoleAccess: "SELECT, INSERT, UPDATE (name)", RoleLedger: "SELECT"},
	"grid_nodes": {RoleRelease: "SELECT", RoleAccess: "SELECT, INSERT"},
	"usage_points": {
		RoleIngest:  "SELECT (id, utility, node, cap_watts, zone)",
		RoleRelease: "SELECT (id, node, tariff)",
		RoleAccess:  "SELECT, INSERT, UPDATE (cap_watts, zone, tariff)",
	},
	"households": {
		RoleIngest:   "SELECT (id, generation, public_key)",
		RoleRelease:  "SELECT (id, public_key)",
		RoleAccess:   "SELECT, INSERT, UPDATE (public_key)", // to NULL: see migration 0014
		RoleKeyguard: "SELECT (id, generation, public_key, pair_round), UPDATE (generation, public_key, pair_round)",
	},
	"household_keys": {
		RoleAccess:   "INSERT", // of whom it registers; an erasure deletes by a trigger
		RoleKeyguard: "SELECT, INSERT, UPDATE (wrapped_private)",
	},
	"pair_rounds": {
		RoleAccess:   "SELECT", // after which round it registers whom
		RoleKeyguard: "SELECT, INSERT",
	},
	"key_rotations": { // what is stored must be wrapped under a version that stays
		RoleIngest: "SELECT", RoleRelease: "SELECT", RoleAccess: "SELECT", RoleKeyguard: "SELECT, INSERT, UPDATE (retiring_s, retired_s)", RoleLedger: "SELECT",
	},
	"occupancies": {
		RoleIngest:  "SELECT",
		RoleRelease: "SELECT",
		RoleAccess:  "SELECT, INSERT, UPDATE (until_s)",
	},
	"letter_codes": {RoleAccess: "SELECT, INSERT, UPDATE (used_s), DELETE"},
	"sessions":     {RoleAccess: "SELECT, INSERT, UPDATE (ended_s), DELETE", RoleLedger: "SELECT"},

	// Readings.
	"writers": {
		RoleIngest:   "SELECT (writer), INSERT",
		RoleRelease:  "SELECT (writer, public_key)",
		RoleAccess:   "SELECT (writer, public_key)",
		RoleKeyguard: "SELECT (writer, public_key)",
	},
	"batches":   {RoleIngest: "SELECT (utility, batch_id, mac, answer_mac), INSERT, DELETE"},
	"blocks":    {RoleIngest: "INSERT", RoleAccess: "SELECT"},
	"day_keys":  {RoleIngest: "INSERT", RoleKeyguard: "SELECT"},
	"conflicts": {RoleRelease: "SELECT, INSERT, UPDATE (intervals)", RoleAccess: "SELECT, INSERT, UPDATE (intervals)"},

	// RoleRelease.
	"windows": {
		RoleIngest:  "SELECT (day, state), UPDATE (held)",
		RoleRelease: "SELECT, INSERT, UPDATE (state, wrapped_private, attempts)",
	},
	"spool_keys":      {RoleIngest: "INSERT", RoleRelease: "SELECT, DELETE"},
	"spool":           {RoleIngest: "INSERT", RoleRelease: "SELECT, DELETE"},
	"budget_years":    {RoleRelease: "SELECT, INSERT, UPDATE (cap_nano, spent_nano)"}, // spending only grows: see migration 0012
	"budget_days":     {RoleRelease: "SELECT, INSERT, UPDATE (cap_nano, spent_nano)"},
	"budget_spends":   {RoleRelease: "SELECT, INSERT"},
	"releases":        {RoleRelease: "SELECT, INSERT"},
	"running_sets":    {RoleRelease: "SELECT, INSERT, DELETE"},
	"running_records": {RoleRelease: "SELECT, INSERT, DELETE"},
	"live_sets":       {RoleRelease: "SELECT, INSERT, UPDATE (id, records, sealed, signature), DELETE"},

	// Consents.
	"consents": {RoleAccess: "SELECT, INSERT, UPDATE, DELETE", RoleLedger: "SELECT"},
	"oauth_clients": {
		RoleAccess: "SELECT, INSERT, UPDATE (name, state, auth_method, secret_hash, grant_types, redirect_uris, notify_uri, purpose_code, purpose_text, contacts, decided_s), DELETE",
		RoleLedger: "SELECT (id, state)",
	},
	"oauth_grants": {RoleAccess: "SELECT, INSERT, UPDATE (code_hash, code_expires_s, code_used_s, revoked_s), DELETE"},
	"oauth_tokens": {
		RoleAccess: "SELECT, INSERT, UPDATE (used_s, revoked_s), DELETE",
		RoleLedger: "SELECT (token_hash, kind, client, consent, expires_s, revoked_s)", // who asks for the record with one
	},
	"oauth_requests": {RoleAccess: "SELECT, INSERT, DELETE"},
	"keyguard_spent": {RoleKeyguard: "SELECT, INSERT, UPDATE (uses)"},

	// What third parties are told.
	"notify_endpoints": {RoleAccess: "SELECT, INSERT, UPDATE"},
	"notifications":    {RoleAccess: "SELECT, INSERT, UPDATE (created_s, leaf_idx, state, due_s, tried_s, attempts), DELETE"},
	"notify_marks":     {RoleAccess: "SELECT, INSERT, UPDATE (version, terms, days), DELETE"},
	"notify_keys":      {RoleAccess: "SELECT, INSERT, UPDATE (withdrawn_s)"},

	// The ledger. Whoever records sequences; one role signs.
	"tlog_head": {
		RoleIngest: sequences, RoleRelease: sequences, RoleAccess: sequences, RoleKeyguard: sequences, RoleLedger: "SELECT, INSERT, UPDATE (epoch, size, root, frontier)",
	},
	"tlog_leaves": {RoleIngest: adds, RoleRelease: adds, RoleAccess: adds, RoleKeyguard: adds, RoleLedger: adds},
	"tlog_tiles":  {RoleIngest: adds, RoleRelease: adds, RoleAccess: adds, RoleKeyguard: adds, RoleLedger: adds},
	"tlog_private": { // each its own kinds, by rowGrants
		RoleIngest: adds, RoleRelease: adds, RoleAccess: "SELECT, INSERT, DELETE", RoleKeyguard: adds, RoleLedger: adds,
	},
	"tlog_checkpoints": {
		RoleIngest: "SELECT", RoleRelease: "SELECT", RoleAccess: "SELECT", RoleKeyguard: "SELECT", RoleLedger: "SELECT, INSERT, UPDATE (note)",
	},
	"ledger_keys": {RoleLedger: "SELECT, INSERT, UPDATE (bound_leaf, bound_s, statement, retired_leaf, retired_s, destroyed_s)"},
	"tlog_chains": {
		RoleAccess: "SELECT, INSERT, UPDATE (seq, head, accesses, nonce), DELETE",
		RoleLedger: "SELECT",
	},
	"tlog_tag_keys": {RoleAccess: "SELECT, INSERT, DELETE", RoleLedger: "SELECT"},
	"regulator_keys": {
		RoleIngest: "SELECT", RoleRelease: "SELECT", RoleAccess: "SELECT", RoleKeyguard: "SELECT", RoleLedger: adds,
	},
	"tlog_envelope_heads": {RoleIngest: "INSERT", RoleRelease: "INSERT", RoleAccess: "INSERT", RoleKeyguard: "INSERT", RoleLedger: adds},
}

const (
	sequences = "SELECT, UPDATE (epoch, size, root, frontier)"
	adds      = "SELECT, INSERT"
)

// rowGrants say which rows of a shared table a role reads and writes; of another
// table it is all. The conditions are SQL.
var rowGrants = map[string]privileges{
	"hub_secrets": {
		RoleIngest:   `name = 'batch-hash'`,
		RoleRelease:  `name = 'release-signing'`,
		RoleAccess:   `name IN ('letter-codes', 'notify-signing', 'read-cursors', 'receipt-addresses', 'statement-signing')`,
		RoleKeyguard: `true`,
		RoleLedger:   `name IN ('ledger-signing', 'ledger-signing-mldsa')`,
	},
	"tlog_private": {
		RoleIngest:   `kind = 'admin'`,
		RoleRelease:  `kind IN ('budget.spend', 'release')`,
		RoleAccess:   `true`,
		RoleKeyguard: `kind = 'admin'`,
		RoleLedger:   `true`,
	},
}

// grantRoles gives every role's group exactly what grants say, and takes away what
// else it was given. Where no group exists there is nothing to do.
//
// It makes no group: that takes an administrator of the whole server, which whoever
// migrates one database of it should not have to be. docs/roles.sql makes them, once.
func (d *postgresDialect) grantRoles(ctx context.Context, tx statements) error {
	found, err := scanAll(ctx, tx, func(row *sql.Rows) (name string, err error) { return name, row.Scan(&name) },
		`SELECT rolname FROM pg_roles WHERE `+d.among("rolname", 1), d.list(groups()))
	if err != nil {
		return fmt.Errorf("looking for groups of roles: %w", err)
	}
	if len(found) == 0 {
		return nil
	}
	if len(found) < len(Roles()) {
		return fmt.Errorf("%w: there are %s", ErrGroups, strings.Join(found, ", "))
	}
	var schema string
	if err := tx.QueryRowContext(ctx, `SELECT current_schema()`).Scan(&schema); err != nil {
		return fmt.Errorf("granting: %w", err)
	}
	if _, err := tx.ExecContext(ctx, grantSQL(schema)); err != nil {
		return fmt.Errorf("granting: %w", err)
	}
	return nil
}

// groups are the groups of all roles.
func groups() []string {
	var names []string
	for _, r := range Roles() {
		names = append(names, r.Group())
	}
	return names
}

// grantSQL is what grantRoles runs in a schema.
func grantSQL(schema string) string {
	var b strings.Builder
	for _, r := range Roles() {
		fmt.Fprintf(&b, "GRANT USAGE ON SCHEMA %s TO %s;\n", pq.QuoteIdentifier(schema), r.Group())
	}
	fmt.Fprintf(&b, "GRANT EXECUTE ON FUNCTION make_partitions(integer) TO %s;\n", RoleIngest.Group())
	for _, table := range slices.Sorted(maps.Keys(grants)) {
		fmt.Fprintf(&b, "REVOKE ALL ON %s FROM %s;\n", table, strings.Join(groups(), ", "))
		for _, r := range Roles() {
			if may := grants[table][r]; may != "" {
				fmt.Fprintf(&b, "GRANT %s ON %s TO %s;\n", may, table, r.Group())
			}
		}
	}
	for _, table := range slices.Sorted(maps.Keys(rowGrants)) {
		for _, r := range Roles() {
			fmt.Fprintf(&b, "DROP POLICY IF EXISTS %s ON %s;\n", r, table)
			if rows := rowGrants[table][r]; rows != "" {
				fmt.Fprintf(&b, "CREATE POLICY %s ON %s TO %s USING (%s);\n", r, table, r.Group(), rows)
			}
		}
	}
	return b.String()
}
