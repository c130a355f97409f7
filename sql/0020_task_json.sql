-- One function makes a task's JSON: for its completion event, and for the answer that an idempotency key is
-- bound to.

create function task_json(task tasks) returns jsonb language sql stable
return jsonb_build_object(
  'id', task.id,
  'title', task.title,
  'description', task.description,
  'status', task.status,
  'assigned_to', task.assigned_to,
  'created_by', task.created_by,
  'created_at', rfc3339(task.created_at),
  'updated_at', rfc3339(task.updated_at),
  'completed_at', rfc3339(task.completed_at));

create or replace function record_completion() returns trigger language plpgsql as $$
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
      'task', task_json(new),
      -- The API's statements say who acts, for their transaction; a change by hand names nobody.
      'completed_by', (select jsonb_build_object('id', id, 'username', username) from users
        where id = nullif(current_setting('task_api.user_id', true), '')::bigint))));
  return null;
end
$$;

-- The version rises with a change of any column but those that follow from the others.
create or replace function stamp_task() returns trigger language plpgsql as $$
declare
  given tasks := new;
begin
  if tg_op = 'INSERT' then
    new.created_at := date_trunc('milliseconds', new.created_at);
    new.updated_at := date_trunc('milliseconds', coalesce(new.updated_at, new.created_at));
    new.completed_at := case when new.status = 'completed'
      then date_trunc('milliseconds', coalesce(new.completed_at, new.updated_at)) end;
    new.version := 1;
    return new;
  end if;
  given.updated_at := old.updated_at;
  given.completed_at := old.completed_at;
  given.version := old.version;
  given.revision := old.revision;
  given.search_text := old.search_text;
  if given is distinct from old then
    -- clock_timestamp(), not now(): a write that waited for a lock would otherwise bear the earlier time.
    new.updated_at := greatest(date_trunc('milliseconds', clock_timestamp()), old.updated_at);
    new.completed_at := case
      when new.status = 'pending' then null
      when old.status = 'completed' then old.completed_at
      else new.updated_at end;
    new.version := old.version + 1;
  else
    new.updated_at := old.updated_at;
    new.completed_at := old.completed_at;
    new.version := old.version;
  end if;
  return new;
end
$$;
