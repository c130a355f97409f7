-- migrate: outside a transaction
-- The tasks whose search_text is still to be filled in; empty once that is done.
create index concurrently if not exists tasks_missing_search_text_idx on tasks (id) where search_text is null;
