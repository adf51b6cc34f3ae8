-- Totals are published by tariff group, too.
ALTER TABLE usage_points ADD COLUMN tariff {{id}} NOT NULL DEFAULT ''; -- public tariff group, such as "day-night"; '' for none; may change
