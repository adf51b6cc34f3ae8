package store_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/wattveil/wattveil/server/store"
	"github.com/wattveil/wattveil/server/store/pgtest"
)

// split is a migrated database in which every role has a group.
type split struct {
	url   string // as the tables' owner
	owner *store.Store
	admin *sql.DB
}

func newSplit(t testing.TB) *split {
	t.Helper()
	at := pgtest.Database(t)
	p := &split{url: at, admin: database(t, at)}
	run(t, p.admin, groupsSQL(t))
	p.owner = open(t, at)
	return p
}

// groupsSQL is the file that administrators run.
func groupsSQL(t testing.TB) string {
	t.Helper()
	text, err := os.ReadFile("../../docs/roles.sql")
	must(t, err)
	return string(text)
}

func database(t testing.TB, at string) *sql.DB {
	t.Helper()
	db, err := sql.Open("postgres", at)
	must(t, err)
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func run(t testing.TB, db *sql.DB, statements string) {
	t.Helper()
	if _, err := db.ExecContext(t.Context(), statements); err != nil {
		t.Fatalf("preparing the database: %v", err)
	}
}

// user returns the URL under which a new user logs in, who is a member of the groups.
func (p *split) user(t testing.TB, groups ...string) string {
	t.Helper()
	return pgtest.User(t, p.url, groups...)
}

// as opens the store as a user of a role.
func (p *split) as(t testing.TB, r store.Role) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), p.user(t, r.Group()), store.Options{MaxConns: 4})
	if err != nil {
		t.Fatalf("opening the store as %s: %v", r, err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// state returns the SQLSTATE of an error of the database.
func state(err error) string {
	var e interface{ SQLState() string }
	if errors.As(err, &e) {
		return e.SQLState()
	}
	return ""
}

const insufficientPrivilege = "42501"

// columnsOf returns the tables that hold rows of their own, and their columns.
func columnsOf(t testing.TB, db *sql.DB) (tables map[string][]string, partitions []string) {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), `SELECT c.relname, c.relispartition, a.attname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
		WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND a.attnum > 0 AND NOT a.attisdropped ORDER BY c.relname, a.attnum`)
	must(t, err)
	defer rows.Close()
	tables = map[string][]string{}
	for rows.Next() {
		var table, column string
		var partition bool
		must(t, rows.Scan(&table, &partition, &column))
		if !partition {
			tables[table] = append(tables[table], column)
		} else if !slices.Contains(partitions, table) {
			partitions = append(partitions, table)
		}
	}
	must(t, rows.Err())
	return tables, partitions
}

var verb = regexp.MustCompile(`(SELECT|INSERT|UPDATE|DELETE)(?: \(([a-z_, ]+)\))?`)

// may reports whether a grant allows a verb on a column; DELETE has none.
func may(granted, what, column string) bool {
	for _, m := range verb.FindAllStringSubmatch(granted, -1) {
		if m[1] == what {
			return m[2] == "" || slices.Contains(strings.Split(m[2], ", "), column)
		}
	}
	return false
}

// The matrix as it is in the database: a member of each role's group tries every
// verb on every column of every table, and may what is stated and nothing else. It
// would catch a table or a column that was forgotten, a grant to PUBLIC, one left
// behind by an earlier program, and a partition that grants what its parent does not.
func TestRolesMayWhatIsStated(t *testing.T) {
	p := newSplit(t)
	run(t, p.admin, fmt.Sprintf(`SELECT make_partitions(%d)`, day0/32*32))
	run(t, p.admin, `GRANT ALL ON household_keys TO wattveil_access; GRANT SELECT (leaf) ON tlog_leaves TO wattveil_portal`) // once, by mistake
	must(t, p.owner.Migrate(t.Context()))
	tables, partitions := columnsOf(t, p.admin)
	if d := cmp.Diff(slices.Sorted(maps.Keys(tables)), slices.Sorted(maps.Keys(store.Grants))); d != "" {
		t.Errorf("tables and those of which it is stated who may what (-there +stated):\n%s", d)
	}
	if len(partitions) != 4 {
		t.Fatalf("%d partitions, want 4 to try", len(partitions))
	}
	for _, r := range store.Roles() {
		db := database(t, p.user(t, r.Group()))
		try := func(statement string, want bool) {
			_, err := db.ExecContext(t.Context(), statement)
			if err != nil && state(err) != insufficientPrivilege {
				t.Errorf("%s: %s: %v", r, statement, err)
			} else if want != (err == nil) {
				t.Errorf("%s: %s: allowed %t, stated %t", r, statement, err == nil, want)
			}
		}
		for table, columns := range tables {
			granted := store.Grants[table][r]
			for _, c := range columns {
				try(fmt.Sprintf(`SELECT %s FROM %s WHERE false`, c, table), may(granted, "SELECT", c))
				try(fmt.Sprintf(`INSERT INTO %[2]s (%[1]s) SELECT (NULL::%[2]s).%[1]s WHERE false`, c, table), may(granted, "INSERT", c))
				try(fmt.Sprintf(`UPDATE %s SET %s = NULL WHERE false`, table, c), may(granted, "UPDATE", c))
			}
			try(`DELETE FROM `+table+` WHERE false`, may(granted, "DELETE", ""))
			try(`TRUNCATE `+table, false)
		}
		for _, table := range partitions {
			try(`SELECT count(*) FROM `+table, false)
			try(`INSERT INTO `+table+` SELECT (NULL::`+table+`).* WHERE false`, false)
			try(`DELETE FROM `+table, false)
		}
		try(fmt.Sprintf(`SELECT make_partitions(%d)`, day0/32*32), r == store.RoleIngest)
		try(`CREATE TABLE mine (x int)`, false)
	}
}

// What operators read is what is granted: docs/OPERATING.md has the matrix as a table,
// S I U D for the verbs, * where some columns only, † where some rows only.
func TestMatrixIsWrittenDown(t *testing.T) {
	text, err := os.ReadFile("../../docs/OPERATING.md")
	must(t, err)
	var want []string
	header := "| Table |"
	for _, r := range store.Roles() {
		header += " " + string(r) + " |"
	}
	for _, table := range slices.Sorted(maps.Keys(store.Grants)) {
		row := "| `" + table + "` |"
		for _, r := range store.Roles() {
			var letters []string
			for _, m := range verb.FindAllStringSubmatch(store.Grants[table][r], -1) {
				letter := m[1][:1]
				if m[2] != "" {
					letter += "*"
				}
				letters = append(letters, letter)
			}
			cell := strings.Join(letters, " ")
			if rows := store.RowGrants[table][r]; rows != "" && rows != "true" {
				cell += " †"
			}
			if cell != "" {
				cell = " " + cell
			}
			row += cell + " |"
		}
		want = append(want, row)
	}
	_, found, _ := strings.Cut(string(text), header+"\n")
	var got []string
	for line := range strings.Lines(found) {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "|") {
			break
		}
		if !strings.HasPrefix(line, "|---") {
			got = append(got, line)
		}
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("the table in OPERATING.md (-granted +written):\n%s", d)
	}
}

// Of the tables that roles share each sees its own rows, and adds no others: the
// hub's secrets by their names, what leaves mean by their kinds. It would catch a
// secret that is not stated to be anybody's, and a table whose row security is off.
func TestRolesShareTables(t *testing.T) {
	p := newSplit(t)
	secrets := map[string]store.Role{
		"batch-hash": store.RoleIngest, "release-signing": store.RoleRelease, "letter-codes": store.RoleAccess, "notify-signing": store.RoleAccess, "read-cursors": store.RoleAccess, "receipt-addresses": store.RoleAccess, "statement-signing": store.RoleAccess,
		"ledger-signing": store.RoleLedger, "ledger-signing-mldsa": store.RoleLedger,
	}
	must(t, p.owner.CreateLedger(t.Context(), origin))
	for _, r := range []store.Role{store.RoleIngest, store.RoleRelease, store.RoleAccess, store.RoleLedger} {
		s := p.as(t, r)
		for name, whose := range secrets {
			err := s.PutHubSecret(t.Context(), secret(name, "wrapped "+name))
			if whose == r {
				must(t, err)
			} else if !errors.Is(err, store.ErrPrivilege) {
				t.Errorf("%s stores %s: %v, want ErrPrivilege", r, name, err)
			}
		}
	}
	for _, r := range []store.Role{store.RoleIngest, store.RoleRelease, store.RoleAccess, store.RoleLedger} {
		s := p.as(t, r)
		for name, whose := range secrets {
			secret, err := s.HubSecret(t.Context(), name)
			if whose == r && string(secret) != "wrapped "+name || whose != r && !errors.Is(err, store.ErrNotFound) {
				t.Errorf("%s reads %s: %q, %v", r, name, secret, err)
			}
		}
	}
	kinds := map[string][]store.Role{
		"admin":           {store.RoleIngest, store.RoleAccess, store.RoleLedger},
		"consent.grant":   {store.RoleAccess, store.RoleLedger},
		"access":          {store.RoleAccess, store.RoleLedger},
		"budget.spend":    {store.RoleRelease, store.RoleAccess, store.RoleLedger},
		"release":         {store.RoleRelease, store.RoleAccess, store.RoleLedger},
		"household.rekey": {store.RoleAccess, store.RoleLedger},
	}
	i := 0
	for kind := range kinds {
		run(t, p.admin, fmt.Sprintf(`INSERT INTO tlog_private (idx, kind, time_us, subject, recipient, request_id, payload, nonce) VALUES (%d, '%s', 1, '', '', '%s', '', '')`, i, kind, kind))
		i++
	}
	for _, r := range []store.Role{store.RoleIngest, store.RoleRelease, store.RoleAccess, store.RoleLedger} {
		s := p.as(t, r)
		for kind, readers := range kinds {
			var n int
			must(t, s.QueryRow(t.Context(), `SELECT count(*) FROM tlog_private WHERE kind = $1`, []any{kind}, &n))
			if (n > 0) != slices.Contains(readers, r) {
				t.Errorf("%s sees %d leaves of kind %s explained, stated %t", r, n, kind, slices.Contains(readers, r))
			}
			i++
			err := s.Transact(t.Context(), func(ctx context.Context, tx *store.Tx) error {
				return tx.Exec(ctx, `INSERT INTO tlog_private (idx, kind, time_us, subject, recipient, request_id, payload, nonce) VALUES ($1, $2, 1, '', '', $3, '', '')`, i, kind, fmt.Sprint(i))
			})
			if slices.Contains(readers, r) != (err == nil) || err != nil && !errors.Is(err, store.ErrPrivilege) {
				t.Errorf("%s explains a leaf of kind %s: %v, stated %t", r, kind, err, slices.Contains(readers, r))
			}
		}
	}
}

// Who is in no group is told so by name, at the first look into the database, and
// nothing suggests another try. So is the portal, which has nothing to look for.
func TestNoGroup(t *testing.T) {
	p := newSplit(t)
	for who, at := range map[string]string{"a stranger": p.user(t), "the portal": p.user(t, store.RolePortal.Group())} {
		_, err := store.Open(t.Context(), at, store.Options{})
		if !errors.Is(err, store.ErrPrivilege) || errors.Is(err, store.ErrRetry) || errors.Is(err, store.ErrUnavailable) {
			t.Errorf("%s opens the store: %v, want ErrPrivilege alone", who, err)
		}
	}
}

// Groups are an administrator's to make, once and by however many at the same time;
// whoever migrates needs no power over the server's roles. Without groups nothing is
// granted, with some of them nothing is done, with all of them the next migrate
// grants. It would catch a migration that fails, or half works, where the owner of
// the tables is an ordinary user.
func TestGroupsAreMadeOnce(t *testing.T) {
	c := pgtest.Start(t, pgtest.Options{})
	at := c.Database(t)
	admin := database(t, at)
	run(t, admin, `CREATE ROLE plain LOGIN PASSWORD 'plain'`)
	run(t, admin, `DO $$ BEGIN EXECUTE format('ALTER DATABASE %I OWNER TO plain', current_database()); END $$`)
	u, err := url.Parse(at)
	must(t, err)
	u.User = url.UserPassword("plain", "plain")
	owner := open(t, u.String())

	run(t, admin, `CREATE ROLE wattveil_ledger NOLOGIN`)
	if err := owner.Migrate(t.Context()); !errors.Is(err, store.ErrGroups) {
		t.Errorf("migrating with one group: %v, want ErrGroups", err)
	}
	statements := groupsSQL(t)
	var wg sync.WaitGroup
	for range 8 {
		db := database(t, c.Database(t))
		wg.Go(func() {
			if _, err := db.ExecContext(t.Context(), statements); err != nil {
				t.Errorf("making groups at the same time: %v", err)
			}
		})
	}
	wg.Wait()
	must(t, owner.Migrate(t.Context()))
	must(t, owner.Migrate(t.Context()))
	run(t, admin, `DO $$ BEGIN
		EXECUTE format('REVOKE CONNECT, TEMPORARY ON DATABASE %I FROM PUBLIC', current_database());
		EXECUTE format('GRANT CONNECT ON DATABASE %I TO wattveil_ledger', current_database());
	END $$`) // as OPERATING.md has it
	p := &split{url: at, admin: admin, owner: owner}
	if _, err := store.Open(t.Context(), p.user(t), store.Options{}); !errors.Is(err, store.ErrPrivilege) {
		t.Errorf("a stranger connects: %v, want ErrPrivilege", err)
	}
	must(t, p.as(t, store.RoleLedger).CreateLedger(t.Context(), origin))
	for _, g := range store.Roles() {
		var login, granted bool
		must(t, admin.QueryRowContext(t.Context(), `SELECT rolcanlogin, rolsuper OR rolcreaterole OR rolcreatedb OR rolbypassrls FROM pg_roles WHERE rolname = $1`, g.Group()).Scan(&login, &granted))
		if login || granted {
			t.Errorf("group %s can log in, or more", g.Group())
		}
	}
}

// A user who is in the group of one role acts as that role alone. It would catch a part
// that starts as another's user, and fails at its first call.
func TestActsAs(t *testing.T) {
	p := newSplit(t)
	for _, r := range store.Roles() {
		if r == store.RolePortal {
			continue // it has no user
		}
		s := p.as(t, r)
		for _, other := range store.Roles() {
			if err := s.ActsAs(t.Context(), other); (err == nil) != (r == other) || err != nil && !errors.Is(err, store.ErrPrivilege) {
				t.Errorf("the user of %s as %s: %v", r, other, err)
			}
		}
	}
	if err := p.owner.ActsAs(t.Context(), store.RoleLedger); err != nil {
		t.Errorf("the owner, who may do everything: %v", err)
	}
}
