-- migrate: outside a transaction
-- The order of folded titles, for what is assigned to a user.
create index concurrently if not exists tasks_assigned_to_folded_title_idx
  on tasks (assigned_to, (left(fold_text(title), 650) collate "C"), id)
  where assigned_to is not null;
