-- The relay takes the events of all creators in turn, so that a burst of one user holds up nobody else's events.

-- Id of the user who made the task; 0 where that is not known, as for events written before this file.
alter table outbox add column creator bigint not null default 0;

-- The event waits for nothing but a throttled channel, and is not taken while that lasts.
alter table outbox add column held boolean not null default false;

-- How many of its attempts ended because a channel was throttled: these make no later attempt wait longer.
alter table outbox add column deferrals integer not null default 0;

create function name_creator() returns trigger language plpgsql as $$
begin
  new.creator := coalesce((new.payload #>> '{detail,task,created_by}')::bigint, 0);
  return new;
end
$$;

create trigger outbox_name_creator before insert on outbox for each row execute function name_creator();
