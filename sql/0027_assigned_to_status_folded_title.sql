-- migrate: outside a transaction
create index concurrently if not exists tasks_assigned_to_status_folded_title_idx
  on tasks (assigned_to, status, (left(fold_text(title), 650) collate "C"), id)
  where assigned_to is not null;
