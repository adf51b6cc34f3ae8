-- Spending is recorded in the ledger, with the reservation that it is.
ALTER TABLE budget_spends ADD COLUMN leaf_index {{int64}}; -- ledger leaf; its payload and nonce, public, are in tlog_private; NULL for what was spent before
