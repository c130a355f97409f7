-- A task's entity tag is made of its version and its revision: random bits, new with every version. So a tag never
-- comes again for another content, even where a database was restored or made anew and the same version comes again.
-- Null in a row that has not changed since this file: its tag is its version alone, as clients have it already.

alter table tasks add column revision bigint;

-- The revision of the task that was made with the key: its entity tag is part of the answer that is repeated.
alter table idempotency_keys add column revision bigint;

-- 53 bits, which every language holds in a number.
create function new_revision() returns bigint language sql volatile
return floor(random() * 9007199254740992)::bigint;

create function revise_task() returns trigger language plpgsql as $$
begin
  new.revision := new_revision();
  return new;
end
$$;

-- Triggers run in the order of their names: these come after tasks_stamp, which sets the version.
create trigger tasks_stamp_revision_on_insert before insert on tasks
  for each row when (new.revision is null) execute function revise_task();

create trigger tasks_stamp_revision_on_update before update on tasks
  for each row when (new.version is distinct from old.version) execute function revise_task();
