-- migrate: outside a transaction
create index concurrently if not exists tasks_assigned_to_status_updated_at_idx
  on tasks (assigned_to, status, updated_at, id)
  where assigned_to is not null;
