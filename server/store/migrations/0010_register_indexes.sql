-- A closing reads where every household lives. These hold all that it needs of the
-- rows, in the order in which it needs it.
CREATE INDEX occupancies_stays ON occupancies (usage_point, from_s, until_s, household);
CREATE INDEX usage_points_place ON usage_points (id, node, tariff);
CREATE INDEX households_erased ON households (id) WHERE public_key IS NULL;
