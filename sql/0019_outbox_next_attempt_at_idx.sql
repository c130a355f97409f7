-- migrate: outside a transaction
-- Claims by turn would be read from it, past all events of other creators. An older program does without, more slowly.
drop index concurrently if exists outbox_next_attempt_at_idx;
