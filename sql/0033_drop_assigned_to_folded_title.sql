-- migrate: outside a transaction
-- The index with the status serves the lists. Pages of an older program are sorted until it is replaced.
drop index concurrently if exists tasks_assigned_to_folded_title_idx;
