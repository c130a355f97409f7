#!/bin/sh
# Run once by the postgres image, on a new volume: the API connects as an owner who is no superuser.
set -eu
psql -v ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" <<'SQL'
\getenv password DATABASE_PASSWORD
create role task_api login password :'password';
alter database task_api owner to task_api;
SQL
