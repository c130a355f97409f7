-- The notifier's queue: an Event that was answered 202 is a row here until its function has handled it, so that no kill of
-- the notifier loses one. It knows no other table, and may be in a database of its own.

create table notifier_events (
  -- The function's awsRequestId, the same on every try.
  request_id uuid not null,
  function_name text not null,
  function_arn text not null,
  -- JSON as it was sent. Not jsonb, which would change numbers and refuse \u0000.
  payload text not null,
  received_at timestamptz not null default clock_timestamp(),
  -- Times that somebody took it from the queue; of those, how often the function failed, and how often it was not run or not
  -- recorded. What is left are claims whose notifier died.
  claims integer not null default 0,
  failures integer not null default 0,
  deferrals integer not null default 0,
  -- When it may be claimed next. A claim moves it past the end of its lease, a failure past the retry's delay.
  next_attempt_at timestamptz not null default clock_timestamp(),
  -- AWS's error object of the last try that failed: JSON.
  response text,
  -- Why it is given up, after how many tries; set before the on-failure destination is told, dead_at after. From then on
  -- deferrals are the destination's.
  condition text,
  invocations integer,
  dead_at timestamptz,
  constraint notifier_events_pkey primary key (request_id),
  constraint notifier_events_condition_check check (condition in ('RetriesExhausted', 'EventAgeExceeded')),
  constraint notifier_events_invocations_check check ((condition is null) = (invocations is null)),
  constraint notifier_events_dead_at_check check (dead_at is null or condition is not null)
);

create index notifier_events_next_attempt_at_idx on notifier_events (function_name, next_attempt_at) where dead_at is null;
create index notifier_events_dead_at_idx on notifier_events (function_name, dead_at) where dead_at is not null;
