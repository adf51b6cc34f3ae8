-- What the database itself keeps, whoever asks: leaves stay, keys of homes are not
-- swapped, an erasure takes the private halves with it, spent budget stays spent. On PostgreSQL also what a part
-- of the hub needs that owns no table; which part may do what, grants.go says.

-- To hold a window open (FOR SHARE), PostgreSQL asks for the right to change one of
-- its columns. This one nobody can change.
ALTER TABLE windows ADD COLUMN held {{int16}} CHECK (held IS NULL); -- always NULL

{{if postgres -}}
-- A leaf is never changed and never removed, not by the tables' owner either. Guards
-- fire for replicas, too. What an erasure deletes is elsewhere: in tlog_private.
CREATE FUNCTION keep_leaves() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'a leaf of the ledger is never changed' USING ERRCODE = 'restrict_violation', CONSTRAINT = 'leaves_are_kept', TABLE = 'tlog_leaves';
END $$;
CREATE TRIGGER leaves_are_kept BEFORE UPDATE OR DELETE OR TRUNCATE ON tlog_leaves
  FOR EACH STATEMENT EXECUTE FUNCTION keep_leaves();
ALTER TABLE tlog_leaves ENABLE ALWAYS TRIGGER leaves_are_kept;

-- A household's public key goes with an erasure, or is replaced together with its
-- generation. Whoever may erase can therefore not put a key of its own in its place.
CREATE FUNCTION keep_public_key() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'a public key is replaced only by the next generation''s' USING ERRCODE = 'restrict_violation', CONSTRAINT = 'public_key_is_kept', TABLE = 'households';
END $$;
CREATE TRIGGER public_key_is_kept BEFORE UPDATE ON households
  FOR EACH ROW WHEN (NEW.public_key IS NOT NULL AND NEW.public_key IS DISTINCT FROM OLD.public_key AND NEW.generation <= OLD.generation)
  EXECUTE FUNCTION keep_public_key();

-- The private halves go with the public one. It runs as the tables' owner: whoever
-- erases need not be able to look into household_keys, nor delete from it.
CREATE FUNCTION erase_private_keys() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
  DELETE FROM household_keys WHERE household = NEW.id;
  RETURN NULL;
END $$;
CREATE TRIGGER private_keys_are_erased AFTER UPDATE ON households
  FOR EACH ROW WHEN (NEW.public_key IS NULL) EXECUTE FUNCTION erase_private_keys();

-- Spending only grows and caps only fall: who may charge cannot give back.
CREATE FUNCTION keep_budget() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'spent budget is never given back' USING ERRCODE = 'restrict_violation', CONSTRAINT = 'budget_is_kept', TABLE = TG_TABLE_NAME;
END $$;
CREATE TRIGGER budget_is_kept BEFORE UPDATE ON budget_years
  FOR EACH ROW WHEN (NEW.spent_nano < OLD.spent_nano OR NEW.cap_nano > OLD.cap_nano) EXECUTE FUNCTION keep_budget();
CREATE TRIGGER budget_is_kept BEFORE UPDATE ON budget_days
  FOR EACH ROW WHEN (NEW.spent_nano < OLD.spent_nano OR NEW.cap_nano > OLD.cap_nano) EXECUTE FUNCTION keep_budget();

-- Makes the partitions of the 32 UTC days that begin with a day. It runs as the
-- tables' owner, so that who stores readings owns no table; of what it is given it
-- believes nothing: the spans are as blocks_early leaves off, none begins more than
-- 400 days ahead, and so the tables that a caller can make are few. Partitions grant
-- nothing to anyone: rows get into them through their parent, by its grants.
--
-- ATTACH lets writers and readers of the parent go on, where CREATE TABLE … PARTITION
-- OF would wait for them all. The caller holds the lock on partitions.
CREATE FUNCTION make_partitions(first integer) RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
  parent text;
  part   text;
BEGIN
  IF first IS NULL OR first < 10976 OR first % 32 <> 0 OR first > CURRENT_DATE - DATE '1970-01-01' + 400 THEN
    RAISE EXCEPTION 'no partition begins with that day' USING ERRCODE = 'invalid_parameter_value', CONSTRAINT = 'partitions_are_few';
  END IF;
  FOREACH parent IN ARRAY ARRAY['blocks', 'day_keys'] LOOP
    part := parent || '_' || first;
    CONTINUE WHEN to_regclass(part) IS NOT NULL;
    EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING STORAGE)', part, parent);
    EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%s) TO (%s)', parent, part, first, first + 32);
  END LOOP;
END $$;

-- Names in what runs as the owner mean this schema's tables, whatever a caller calls
-- its own. pg_catalog comes first unless it is named; pg_temp would, unless it is.
DO $$
DECLARE
  guard text;
BEGIN
  FOREACH guard IN ARRAY ARRAY['keep_leaves()', 'keep_public_key()', 'keep_budget()', 'erase_private_keys()', 'make_partitions(integer)'] LOOP
    EXECUTE format('ALTER FUNCTION %s SET search_path = %I, pg_temp', guard, current_schema());
    EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', guard);
  END LOOP;
END $$;

-- Roles share these two tables and not their rows. Without a policy, which grants.go
-- writes, only the tables' owner sees any.
ALTER TABLE hub_secrets  ENABLE ROW LEVEL SECURITY;
ALTER TABLE tlog_private ENABLE ROW LEVEL SECURITY;
{{- else -}}
-- A leaf is never changed and never removed. REPLACE fires the second guard on
-- connections that have recursive_triggers, as the hub's do.
CREATE TRIGGER leaves_are_kept_as_they_are BEFORE UPDATE ON tlog_leaves
BEGIN
  SELECT RAISE(ABORT, 'leaves_are_kept: a leaf of the ledger is never changed');
END;
CREATE TRIGGER leaves_are_kept BEFORE DELETE ON tlog_leaves
BEGIN
  SELECT RAISE(ABORT, 'leaves_are_kept: a leaf of the ledger is never changed');
END;

-- A household's public key goes with an erasure, or is replaced together with its
-- generation.
CREATE TRIGGER public_key_is_kept BEFORE UPDATE ON households
WHEN NEW.public_key IS NOT NULL AND NEW.public_key IS NOT OLD.public_key AND NEW.generation <= OLD.generation
BEGIN
  SELECT RAISE(ABORT, 'public_key_is_kept: a public key is replaced only by the next generation''s');
END;

-- The private halves go with the public one.
CREATE TRIGGER private_keys_are_erased AFTER UPDATE ON households WHEN NEW.public_key IS NULL
BEGIN
  DELETE FROM household_keys WHERE household = NEW.id;
END;

-- Spending only grows and caps only fall: who may charge cannot give back.
CREATE TRIGGER budget_of_years_is_kept BEFORE UPDATE ON budget_years
WHEN NEW.spent_nano < OLD.spent_nano OR NEW.cap_nano > OLD.cap_nano
BEGIN
  SELECT RAISE(ABORT, 'budget_is_kept: spent budget is never given back');
END;
CREATE TRIGGER budget_of_days_is_kept BEFORE UPDATE ON budget_days
WHEN NEW.spent_nano < OLD.spent_nano OR NEW.cap_nano > OLD.cap_nano
BEGIN
  SELECT RAISE(ABORT, 'budget_is_kept: spent budget is never given back');
END;
{{- end}}
