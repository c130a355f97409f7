-- An operator can disable a user: nobody logs in as one, and every session ends at once. Both hold by triggers, for psql
-- and for programs older than this file as well: to them a login that makes no session is a wrong password.

alter table users add column disabled_at timestamptz;

create function refuse_session_of_disabled() returns trigger language plpgsql as $$
begin
  -- Locks against a disabling that is under way: whichever comes first, no session is left.
  perform from users where id = new.user_id and disabled_at is null for share;
  return case when found then new end;
end
$$;

create trigger sessions_refuse_disabled before insert on sessions
  for each row execute function refuse_session_of_disabled();

create function end_sessions_of_disabled() returns trigger language plpgsql as $$
begin
  update sessions set ended_at = now() where user_id = new.id and ended_at is null;
  return null;
end
$$;

create trigger users_end_sessions after update of disabled_at on users
  for each row when (new.disabled_at is not null and old.disabled_at is null)
  execute function end_sessions_of_disabled();
