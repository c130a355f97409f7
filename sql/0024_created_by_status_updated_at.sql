-- migrate: outside a transaction
create index concurrently if not exists tasks_created_by_status_updated_at_idx
  on tasks (created_by, status, updated_at, id);
