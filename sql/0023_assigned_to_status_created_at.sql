-- migrate: outside a transaction
create index concurrently if not exists tasks_assigned_to_status_created_at_idx
  on tasks (assigned_to, status, created_at, id)
  where assigned_to is not null;
