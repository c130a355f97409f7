-- What is asked again and again is read from these: whether a delivery fails, by /readyz; which sessions ended long ago, by what
-- removes them; and a user's live sessions, at each login.

create index outbox_failing_idx on outbox (next_attempt_at) where dead_at is null and last_error is not null;
create index sessions_ended_at_idx on sessions (ended_at) where ended_at is not null;
create index sessions_live_idx on sessions (user_id, last_used_at desc, id desc) where ended_at is null;
