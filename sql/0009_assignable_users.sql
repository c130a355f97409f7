-- A disabled user cannot be given a task. This holds by triggers, for psql and for older programs too: they are told what the
-- foreign key tells of a user who does not exist. An assignee that does not change is not checked again.

create function refuse_disabled_assignee() returns trigger language plpgsql as $$
begin
  -- Waits for a disabling that is under way, and makes a later one wait: whichever comes first, the other sees it.
  perform from users where id = new.assigned_to and disabled_at is null for share;
  if not found then
    raise foreign_key_violation
      using message = 'the assignee does not exist or is disabled', table = 'tasks', constraint = 'tasks_assigned_to_fkey';
  end if;
  return new;
end
$$;

create trigger tasks_check_assignee_on_insert before insert on tasks
  for each row when (new.assigned_to is not null) execute function refuse_disabled_assignee();

create trigger tasks_check_assignee_on_update before update of assigned_to on tasks
  for each row when (new.assigned_to is not null and new.assigned_to is distinct from old.assigned_to)
  execute function refuse_disabled_assignee();
