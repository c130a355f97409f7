-- migrate: outside a transaction
create index concurrently if not exists outbox_turn_idx on outbox (held, creator, next_attempt_at) where dead_at is null;
