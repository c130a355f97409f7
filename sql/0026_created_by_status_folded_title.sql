-- migrate: outside a transaction
create index concurrently if not exists tasks_created_by_status_folded_title_idx
  on tasks (created_by, status, (left(fold_text(title), 650) collate "C"), id);
