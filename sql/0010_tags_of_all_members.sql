-- A version rises with what the API can change of a task. What only SQL can change is shown to clients too, such as the
-- creator, where an operator hands over the tasks of somebody who leaves: the entity tag changes with it as well.

create or replace trigger tasks_stamp_revision_on_update before update on tasks
  for each row when (
    (new.version, new.id, new.created_by, new.created_at)
    is distinct from (old.version, old.id, old.created_by, old.created_at))
  execute function revise_task();
