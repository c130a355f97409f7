-- One trigger before each kind of write, and none with a condition: Postgres parses the conditions of all triggers
-- anew in every statement, which cost more than what they saved. What the triggers do has not changed.

create function check_assignee(assignee bigint) returns void language plpgsql as $$
begin
  -- Waits for a disabling that is under way, and makes a later one wait: the second of the two sees the first.
  perform from users where id = assignee and disabled_at is null for share;
  if not found then
    raise foreign_key_violation using message = 'the assignee does not exist or is disabled',
      table = 'tasks', constraint = 'tasks_assigned_to_fkey';
  end if;
end
$$;

create function record_completion(task tasks) returns void language plpgsql as $$
declare
  event_id uuid := gen_random_uuid();
begin
  insert into outbox (id, payload) values (event_id, jsonb_build_object(
    'version', '0',
    'id', event_id,
    'detail-type', 'Task Completed',
    'source', 'task-api',
    'account', '',
    'time', rfc3339(task.completed_at),
    'region', '',
    'resources', jsonb_build_array('/api/tasks/' || task.id || '/'),
    'detail', jsonb_build_object(
      'task', task_json(task),
      -- The API's statements say who acts, for their transaction; a change by hand names nobody.
      'completed_by', (select jsonb_build_object('id', id, 'username', username) from users
        where id = nullif(current_setting('task_api.user_id', true), '')::bigint))));
end
$$;

create function write_new_task() returns trigger language plpgsql as $$
begin
  if new.assigned_to is not null then perform check_assignee(new.assigned_to); end if;
  new.created_at := date_trunc('milliseconds', new.created_at);
  new.updated_at := coalesce(date_trunc('milliseconds', new.updated_at), new.created_at);
  new.completed_at := case when new.status = 'completed'
    then coalesce(date_trunc('milliseconds', new.completed_at), new.updated_at) end;
  new.version := 1;
  new.revision := coalesce(new.revision, new_revision());
  new.search_text := fold_text(concat_ws(E'\n', new.title, new.description));
  return new;
end
$$;

-- After the insert: one with `on conflict` may write nothing.
create function record_new_completion() returns trigger language plpgsql as $$
begin
  if new.status = 'completed' then perform record_completion(new); end if;
  return null;
end
$$;

create function write_changed_task() returns trigger language plpgsql as $$
declare
  is_changed boolean := (new.title, new.description, new.status, new.assigned_to)
    is distinct from (old.title, old.description, old.status, old.assigned_to);
  given tasks;
begin
  if new.assigned_to is not null and new.assigned_to is distinct from old.assigned_to then
    perform check_assignee(new.assigned_to);
  end if;
  if not is_changed then
    -- Compares whole rows, without the columns that follow from the others.
    given := new;
    given.updated_at := old.updated_at;
    given.completed_at := old.completed_at;
    given.version := old.version;
    given.revision := old.revision;
    given.search_text := old.search_text;
    is_changed := given is distinct from old;
  end if;
  new.completed_at := old.completed_at;
  if is_changed then
    -- clock_timestamp(), not now(): a write that waited for a lock would otherwise bear the earlier time.
    new.updated_at := greatest(date_trunc('milliseconds', clock_timestamp()), old.updated_at);
    new.version := old.version + 1;
    new.revision := new_revision();
    if new.status is distinct from old.status then
      new.completed_at := case when new.status = 'completed' then new.updated_at end;
    end if;
  else
    new.updated_at := old.updated_at;
    new.version := old.version;
  end if;
  if new.search_text is null or (new.title, new.description) is distinct from (old.title, old.description) then
    new.search_text := fold_text(concat_ws(E'\n', new.title, new.description));
  end if;
  if new.status = 'completed' and old.status is distinct from new.status then
    perform record_completion(new);
  end if;
  return new;
end
$$;

drop trigger tasks_check_assignee_on_insert on tasks;
drop trigger tasks_check_assignee_on_update on tasks;
drop trigger tasks_record_completion_on_insert on tasks;
drop trigger tasks_record_completion_on_update on tasks;
drop trigger tasks_search_text_on_insert on tasks;
drop trigger tasks_search_text_on_update on tasks;
drop trigger tasks_stamp on tasks;
drop trigger tasks_stamp_revision_on_insert on tasks;
drop trigger tasks_stamp_revision_on_update on tasks;
drop function refuse_disabled_assignee(), record_completion(), set_search_text(), stamp_task(), revise_task();

create trigger tasks_write_new before insert on tasks for each row execute function write_new_task();
create trigger tasks_write_changed before update on tasks for each row execute function write_changed_task();
create trigger tasks_record_new_completion after insert on tasks for each row execute function record_new_completion();
