-- The transactional outbox: an event is written by the very transaction that completes the task, by a trigger, so that
-- the change and its event are both there or neither, for the API as for psql.

create table outbox (
  id uuid not null default gen_random_uuid(),
  -- An EventBridge envelope. It is a snapshot: no reference to the task, which may be edited or deleted meanwhile.
  payload jsonb not null,
  created_at timestamptz not null default clock_timestamp(),
  attempts integer not null default 0,
  -- When the event may be claimed next. A claim moves it past the end of its lease, a failure past its backoff.
  next_attempt_at timestamptz not null default clock_timestamp(),
  last_error text,
  -- Set when the relay has given up; an operator can requeue it.
  dead_at timestamptz,
  constraint outbox_pkey primary key (id)
);

create index outbox_next_attempt_at_idx on outbox (next_attempt_at) where dead_at is null;

-- RFC 3339 in UTC with milliseconds, as the API writes times.
create function rfc3339(moment timestamptz) returns text language sql stable
return to_char(moment at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"');

create function record_completion() returns trigger language plpgsql as $$
declare
  event_id uuid := gen_random_uuid();
begin
  insert into outbox (id, payload) values (event_id, jsonb_build_object(
    'version', '0',
    'id', event_id,
    'detail-type', 'Task Completed',
    'source', 'task-api',
    'account', '',
    'time', rfc3339(new.completed_at),
    'region', '',
    'resources', jsonb_build_array('/api/tasks/' || new.id || '/'),
    'detail', jsonb_build_object(
      'task', jsonb_build_object(
        'id', new.id,
        'title', new.title,
        'description', new.description,
        'status', new.status,
        'assigned_to', new.assigned_to,
        'created_by', new.created_by,
        'created_at', rfc3339(new.created_at),
        'updated_at', rfc3339(new.updated_at),
        'completed_at', rfc3339(new.completed_at)),
      -- The API's statements say who acts, for their transaction; a change made by hand has nobody to name.
      'completed_by', (select jsonb_build_object('id', id, 'username', username) from users
        where id = nullif(current_setting('task_api.user_id', true), '')::bigint))));
  return null;
end
$$;

create trigger tasks_record_completion_on_insert after insert on tasks
  for each row when (new.status = 'completed') execute function record_completion();

create trigger tasks_record_completion_on_update after update on tasks
  for each row when (new.status = 'completed' and old.status is distinct from new.status)
  execute function record_completion();
