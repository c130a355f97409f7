-- migrate: outside a transaction
-- The order of folded titles, for what a user created. Folding can make a title longer, and an entry of an index holds
-- 2,704 bytes: it is cut at 650 characters, which only titles of rare ligatures or of over 216 Hangul syllables exceed.
create index concurrently if not exists tasks_created_by_folded_title_idx
  on tasks (created_by, (left(fold_text(title), 650) collate "C"), id);
