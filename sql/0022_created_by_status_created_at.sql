-- migrate: outside a transaction
-- With the status before the order, a page of one status is a range: it is not read past the tasks of the other.
create index concurrently if not exists tasks_created_by_status_created_at_idx
  on tasks (created_by, status, created_at, id);
