-- migrate: outside a transaction
-- The order of titles as they were sent, which no list has any more.
drop index concurrently if exists tasks_assigned_to_title_idx;
