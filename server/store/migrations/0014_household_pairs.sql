-- New key pairs for households. What the database itself keeps of them, whoever asks: a
-- pair comes whole, later than the one before it, and never to a household that is erased.

-- Rounds in which every living household gets a new pair. One is under way as long as
-- somebody uses a pair from before it.
CREATE TABLE pair_rounds (
    round        {{int64}} NOT NULL PRIMARY KEY, -- 1, 2, …
    began_s      {{int64}} NOT NULL              -- written down; its pairs are made from here on
) {{table}};

ALTER TABLE households ADD COLUMN pair_round {{int64}} NOT NULL DEFAULT 0; -- the last round that had begun when the pair in use was made; 0 before any; changes with the pair

{{if postgres -}}
-- A household's public key goes with an erasure, or is replaced by that of a later
-- generation whose private half is stored: what is sealed to a public key can be opened
-- by the keeper of keys. Generation and round change with the key or not at all, and the
-- key of an erased household never comes back. It runs as the tables' owner: whoever
-- erases cannot look into household_keys.
--
-- A generation may be left out: where the tables come from backups of different times,
-- household_keys has one that households has not seen.
DROP TRIGGER public_key_is_kept ON households;
CREATE OR REPLACE FUNCTION keep_public_key() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
  IF OLD.public_key IS NOT NULL AND NEW.public_key IS NOT NULL AND NEW.public_key <> OLD.public_key
     AND NEW.generation > OLD.generation AND NEW.pair_round >= OLD.pair_round
     AND EXISTS (SELECT FROM household_keys WHERE household = NEW.id AND generation = NEW.generation) THEN
    RETURN NEW;
  END IF;
  RAISE EXCEPTION 'a public key is replaced only by the next generation''s' USING ERRCODE = 'restrict_violation', CONSTRAINT = 'public_key_is_kept', TABLE = 'households';
END $$;
CREATE TRIGGER public_key_is_kept BEFORE UPDATE ON households
  FOR EACH ROW WHEN (NEW.generation <> OLD.generation OR NEW.pair_round <> OLD.pair_round OR NEW.public_key IS NOT NULL AND NEW.public_key IS DISTINCT FROM OLD.public_key)
  EXECUTE FUNCTION keep_public_key();

-- An erased household gets no private half again: not from a rotation that had read it
-- before, nor from a hand. FOR SHARE waits for an erasure that is under way. A household
-- that is not in the table is let through: it is restored, or comes in the same statement.
CREATE FUNCTION refuse_keys_of_erased() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
  erased boolean;
BEGIN
  SELECT public_key IS NULL INTO erased FROM households WHERE id = NEW.household FOR SHARE;
  IF erased THEN
    RAISE EXCEPTION 'an erased household gets no key' USING ERRCODE = 'restrict_violation', CONSTRAINT = 'erased_get_no_keys', TABLE = 'household_keys';
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER erased_get_no_keys BEFORE INSERT ON household_keys
  FOR EACH ROW EXECUTE FUNCTION refuse_keys_of_erased();

-- As in 0012: names mean this schema's tables, and nobody calls these by hand.
DO $$
DECLARE
  guard text;
BEGIN
  FOREACH guard IN ARRAY ARRAY['keep_public_key()', 'refuse_keys_of_erased()'] LOOP
    EXECUTE format('ALTER FUNCTION %s SET search_path = %I, pg_temp', guard, current_schema());
    EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', guard);
  END LOOP;
END $$;
{{- else -}}
-- A household's public key goes with an erasure, or is replaced by that of a later
-- generation whose private half is stored: what is sealed to a public key can be opened
-- by the keeper of keys. Generation and round change with the key or not at all, and the
-- key of an erased household never comes back.
--
-- A generation may be left out: where the tables come from backups of different times,
-- household_keys has one that households has not seen.
DROP TRIGGER public_key_is_kept;
CREATE TRIGGER public_key_is_kept BEFORE UPDATE ON households
WHEN (NEW.generation <> OLD.generation OR NEW.pair_round <> OLD.pair_round OR NEW.public_key IS NOT NULL AND NEW.public_key IS NOT OLD.public_key)
  AND NOT (OLD.public_key IS NOT NULL AND NEW.public_key IS NOT NULL AND NEW.public_key <> OLD.public_key
    AND NEW.generation > OLD.generation AND NEW.pair_round >= OLD.pair_round
    AND EXISTS (SELECT 1 FROM household_keys WHERE household = NEW.id AND generation = NEW.generation))
BEGIN
  SELECT RAISE(ABORT, 'public_key_is_kept: a public key is replaced only by the next generation''s');
END;

-- An erased household gets no private half again.
CREATE TRIGGER erased_get_no_keys BEFORE INSERT ON household_keys
WHEN EXISTS (SELECT 1 FROM households WHERE id = NEW.household AND public_key IS NULL)
BEGIN
  SELECT RAISE(ABORT, 'erased_get_no_keys: an erased household gets no key');
END;
{{- end}}
