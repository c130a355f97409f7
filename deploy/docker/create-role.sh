#!/bin/sh
# The postgres image runs this once, on a new volume. Creates the API's role: owner of its database, no
# superuser.
set -eu
psql -v ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" <<'SQL'
\getenv password DATABASE_PASSWORD
create role task_api login password :'password';
alter database task_api owner to task_api;
SQL
