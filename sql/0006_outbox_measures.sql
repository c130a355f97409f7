-- What metrics ask of the outbox is read from these, however much waits: the age of the oldest event, and how many were given up.

create index outbox_created_at_idx on outbox (created_at) where dead_at is null;
create index outbox_dead_at_idx on outbox (dead_at) where dead_at is not null;
