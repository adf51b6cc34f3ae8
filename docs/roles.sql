-- A group for each role of a hub whose roles run as processes of their own. An
-- administrator of the PostgreSQL server runs it once, in any database; again is
-- harmless, and so is at the same time as somebody else. What each group may do,
-- `wattveil migrate` grants, in the hub's own database. See OPERATING.md.
DO $$
DECLARE
  part text;
BEGIN
  FOREACH part IN ARRAY ARRAY['ingest', 'release', 'access', 'keyguard', 'ledger', 'portal'] LOOP
    BEGIN
      EXECUTE format('CREATE ROLE %I NOLOGIN', 'wattveil_' || part);
    EXCEPTION WHEN duplicate_object OR unique_violation THEN
      NULL; -- it is there
    END;
  END LOOP;
END $$;
