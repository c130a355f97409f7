-- migrate: outside a transaction
-- The index with the status serves the lists. Pages of an older program are sorted until it is replaced.
drop index concurrently if exists tasks_created_by_created_at_idx;
