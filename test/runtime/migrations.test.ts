import { cp, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type postgres from 'postgres'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { readMigrations } from '../../src/runtime/postgres/migration-files.ts'
import { migrationStatus } from '../../src/runtime/postgres/migration-records.ts'
import { migrate } from '../../src/runtime/postgres/migrations.ts'
import { runBuilt } from '../support/commands.ts'
import { root, temporaryDirectory } from '../support/directories.ts'
import { startTestPostgres, type TestPostgres } from '../support/postgres.ts'
import { refusal } from '../support/refusal.ts'

const quiet = { info: () => {} }

/** Three files. A naive split at semicolons would break the second. */
const files = {
  '0001_runs.sql': `create table runs (file integer not null);
    insert into runs values (1);`,
  '0002_audit.sql': `-- Counts; the quotes and semicolons are the point.
create table audit (note text);
create function note_run() returns trigger language plpgsql as $$
begin
  insert into audit values ('file ' || new.file || $q$; ''it's done''$q$);
  return new;
end
$$;
create trigger runs_note after insert on runs for each row execute function note_run();
insert into runs values (2);`,
  '0003_index.sql': `create index runs_file_idx on runs (file);
    insert into runs values (3);`,
}

let server: TestPostgres
let temporary: string

beforeAll(async () => {
  temporary = await temporaryDirectory()
  server = await startTestPostgres()
})

afterAll(async () => {
  await server?.stop()
  await rm(temporary, { recursive: true, force: true })
})

async function writeFiles(contents: Record<string, string>) {
  const directory = await mkdtemp(join(temporary, 'sql-'))
  for (const [name, text] of Object.entries(contents)) await writeFile(join(directory, name), text)
  return directory
}

const read = async (contents: Record<string, string>) => readMigrations(await writeFiles(contents))

/** A fresh database and a client of it. */
async function createDatabase() {
  const name = await server.createDatabase()
  return { name, sql: server.sql(name) }
}

const listRuns = async (sql: postgres.Sql) =>
  (await sql<{ file: number }[]>`select file from runs order by file`).map(({ file }) => file)

/** Everything a migration could have left behind. */
const listRelations = async (sql: postgres.Sql) =>
  (
    await sql<{ name: string }[]>`
      select relname as name from pg_class
      where relnamespace not in ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)
        and relkind in ('r', 'i') and relname not like 'pg_toast%'
      order by relname`
  ).map(({ name }) => name)

describe('reading the files', () => {
  it('numbers them, with a checksum that does not depend on line ends', async () => {
    const [unix] = await read({ '0001_a.sql': 'select 1;\nselect 2;\n' })
    const [windows] = await read({ '0001_a.sql': '\uFEFFselect 1;\r\nselect 2;\r\n' })
    const [other] = await read({ '0001_a.sql': 'select 1;\nselect 3;\n' })
    expect(windows).toEqual(unix)
    expect(unix).toMatchObject({
      version: 1,
      name: '0001_a.sql',
      text: 'select 1;\nselect 2;\n',
      isTransactional: true,
    })
    expect(unix?.checksum).toMatch(/^[0-9a-f]{64}$/)
    expect(other?.checksum).not.toBe(unix?.checksum)
  })

  it('skips hidden files and other types', async () => {
    const migrations = await read({
      '0001_a.sql': '',
      '._0001_a.sql': '',
      'README.md': '',
      '0001_a.sql~': '',
    })
    expect(migrations.map(({ name }) => name)).toEqual(['0001_a.sql'])
  })

  it.each([
    [['0001_a.sql', '0003_c.sql'], 'the migration 0002 is missing: 0003_c.sql comes after 0001_a.sql'],
    [['0002_b.sql'], 'the migration 0001 is missing: 0002_b.sql comes after nothing'],
    [['0000_a.sql'], 'the migration 0001 is missing: 0000_a.sql comes after nothing'],
    [
      ['0001_a.sql', '0001_b.sql'],
      '0001_a.sql and 0001_b.sql have the same number: give one the next free number',
    ],
    [['1_a.sql'], '1_a.sql is no name for a migration: it must look like 0001_accounts.sql'],
    [['0001-a.sql'], '0001-a.sql is no name for a migration: it must look like 0001_accounts.sql'],
    [['0001_A.sql'], '0001_A.sql is no name for a migration: it must look like 0001_accounts.sql'],
    [['0001_a.SQL'], '0001_a.SQL is no name for a migration: it must look like 0001_accounts.sql'],
    [['00001_a.sql'], '00001_a.sql is no name for a migration: it must look like 0001_accounts.sql'],
  ])('refuses %j', async (names, message) => {
    expect(await refusal(read(Object.fromEntries(names.map((name) => [name, '']))))).toBe(message)
  })

  it('refuses a directory that is missing or has no migrations', async () => {
    expect(await refusal(readMigrations(join(temporary, 'absent')))).toContain('absent: ENOENT')
    expect(await refusal(read({}))).toContain('there are no migrations in ')
  })
})

describe('applying them', () => {
  it('applies the missing files in order, and nothing when run again', async () => {
    const { sql } = await createDatabase()
    const lines: string[] = []
    const log = { info: (message: string) => lines.push(message) }
    const { '0003_index.sql': _, ...firstTwo } = files

    expect(await migrate(sql, await read(firstTwo), log)).toEqual({
      applied: ['0001_runs.sql', '0002_audit.sql'],
      version: 2,
    })
    expect(await migrate(sql, await read(files), log)).toEqual({ applied: ['0003_index.sql'], version: 3 })
    expect(await migrate(sql, await read(files), log)).toEqual({ applied: [], version: 3 })
    expect(lines).toEqual(['applied 0001_runs.sql', 'applied 0002_audit.sql', 'applied 0003_index.sql'])
    expect(await listRuns(sql)).toEqual([1, 2, 3])
    // The trigger and its function work, not only exist.
    expect(await sql`select note from audit order by note`).toEqual([
      { note: "file 2; ''it's done''" },
      { note: "file 3; ''it's done''" },
    ])
  })

  it('runs each file once when 20 installers start at once on a fresh database', async () => {
    const { name, sql } = await createDatabase()
    const migrations = await read({
      ...files,
      '0004_slow.sql': 'select pg_sleep(2); insert into runs values (4);',
    })
    // Settings of a role that would hide the work of others, or end the wait.
    const hostile = {
      default_transaction_isolation: 'repeatable read' as const,
      statement_timeout: 1000,
      lock_timeout: 1000,
    }
    const installers = Array.from({ length: 20 }, (_, index) =>
      server.sql(name, { max: 1, connection: index % 2 ? hostile : {} }),
    )
    const results = await Promise.all(installers.map((installer) => migrate(installer, migrations, quiet)))
    await Promise.all(installers.map((installer) => installer.end()))

    expect(results.flatMap(({ applied }) => applied).sort()).toEqual(migrations.map((m) => m.name))
    expect(new Set(results.map(({ version }) => version))).toEqual(new Set([4]))
    expect(await listRuns(sql)).toEqual([1, 2, 3, 4])
    expect(await sql`select version from schema_migrations order by version`).toHaveLength(4)
  })

  it("applies the project's own files as a role that is no superuser, and again", async () => {
    const { sql } = await createDatabase()
    const [role] = await sql`
      select rolsuper, rolcreaterole, rolbypassrls from pg_roles where rolname = current_user`
    expect(role).toEqual({ rolsuper: false, rolcreaterole: false, rolbypassrls: false })

    const migrations = await readMigrations(join(root, 'sql'))
    const names = migrations.map(({ name }) => name)
    expect(await migrate(sql, migrations, quiet)).toEqual({ applied: names, version: names.length })
    expect(await migrate(sql, migrations, quiet)).toEqual({ applied: [], version: names.length })
    expect(await listRelations(sql)).toEqual(expect.arrayContaining(['schema_migrations', 'tasks', 'users']))
    // No extension but the one of every server.
    expect(await sql`select extname from pg_extension`).toEqual([{ extname: 'plpgsql' }])
  })

  it('keeps to the first schema of search_path', async () => {
    const { name, sql } = await createDatabase()
    const migrations = await read(files)
    await migrate(sql, migrations, quiet)
    await sql`create schema team`
    const team = server.sql(name, { connection: { search_path: 'team, public' } })
    expect((await migrationStatus(team, migrations)).migrations.every((m) => m.applied_at === null)).toBe(
      true,
    )
    expect(await migrate(team, migrations, quiet)).toMatchObject({ version: 3 })
    expect(await sql`select file from team.runs order by file`).toHaveLength(3)
    expect(await listRuns(sql)).toEqual([1, 2, 3])
  })
})

describe('a file that runs outside a transaction', () => {
  const outside = (statement: string) => `-- migrate: outside a transaction\n${statement}`
  const table = { '0001_table.sql': 'create table numbers (n integer); insert into numbers values (1), (1);' }
  const isValid = async (sql: postgres.Sql) =>
    (await sql`select indisvalid from pg_index where indexrelid = to_regclass('numbers_n_idx')`)[0]
      ?.indisvalid

  it('is applied once when 10 installers start at once', async () => {
    const { name, sql } = await createDatabase()
    const migrations = await read({
      ...table,
      // The index calls it for each row, so that the others wait for the build.
      '0002_slow.sql': `create function slow(n integer) returns integer language plpgsql immutable as
        $$ begin perform pg_sleep(1); return n; end $$`,
      '0003_index.sql': outside(
        'create index concurrently if not exists numbers_n_idx on numbers (slow(n));',
      ),
      '0004_last.sql': 'insert into numbers values (2);',
    })
    const installers = Array.from({ length: 10 }, () => server.sql(name, { max: 1 }))
    const results = await Promise.all(installers.map((installer) => migrate(installer, migrations, quiet)))
    expect(results.flatMap(({ applied }) => applied).sort()).toEqual(migrations.map((m) => m.name))
    expect(await isValid(sql)).toBe(true)
    expect(await sql`select n from numbers order by n`).toEqual([{ n: 1 }, { n: 1 }, { n: 2 }])
  })

  it('lets others write, and read the status, while it builds an index', async () => {
    const { name, sql } = await createDatabase()
    const migrations = await read({
      ...table,
      '0002_index.sql': outside('create index concurrently if not exists numbers_n_idx on numbers (n);'),
    })
    await migrate(sql, migrations.slice(0, 1), quiet)
    // As an older program left the table.
    await sql`alter table schema_migrations drop column oldest_program`
    const other = server.sql(name, { max: 1 })
    await other`begin`
    await other`insert into numbers values (2)`
    // The build waits for the open transaction. A build inside a transaction would block the next write.
    const migrated = migrate(sql, migrations, quiet)
    await expect
      .poll(
        async () =>
          (
            await sql`select 1 from pg_stat_activity where query like '%concurrently%' and wait_event_type = 'Lock'`
          ).length,
        { timeout: 60_000 },
      )
      .toBe(1)
    const reader = server.sql(name, { max: 1 })
    await reader`insert into numbers values (3)`
    expect((await migrationStatus(reader, migrations)).problems).toEqual([])
    await other`commit`
    expect(await migrated).toEqual({ applied: ['0002_index.sql'], version: 2 })
    expect(await isValid(sql)).toBe(true)
  })

  it('is refused when it has several statements', async () => {
    const { sql } = await createDatabase()
    const text = outside('create index numbers_n_idx on numbers (n); select 1;')
    const migrations = await read({ ...table, '0002_index.sql': text })
    expect(await refusal(migrate(sql, migrations, quiet))).toBe(
      '0002_index.sql: a file that runs outside a transaction has one statement, not several',
    )
    expect(await isValid(sql)).toBeUndefined()
  })

  it('is run again after a failure, whose invalid index is dropped', async () => {
    const { sql } = await createDatabase()
    const migrations = await read({
      ...table,
      '0002_index.sql': outside(
        'create unique index concurrently if not exists numbers_n_idx on numbers (n);',
      ),
    })
    expect(await refusal(migrate(sql, migrations, quiet))).toBe(
      '0002_index.sql: could not create unique index "numbers_n_idx"',
    )
    expect(await isValid(sql)).toBe(false)
    expect((await migrationStatus(sql, migrations)).migrations[1]?.applied_at).toBeNull()

    await sql`delete from numbers`
    expect(await migrate(sql, migrations, quiet)).toEqual({ applied: ['0002_index.sql'], version: 2 })
    expect(await isValid(sql)).toBe(true)
  })
})

describe('a file that ends the transaction it runs in', () => {
  it.each(['commit', 'rollback', 'END', 'begin; commit'])(
    'is refused and not recorded: %s',
    async (words) => {
      const { sql } = await createDatabase()
      const text = `create table a ();\n${words};\ncreate table b ();`
      const migrations = await read({ '0001_runs.sql': files['0001_runs.sql'], '0002_bad.sql': text })
      expect(await refusal(migrate(sql, migrations, quiet))).toBe(
        '0002_bad.sql: leave out commit and rollback, every file runs in a transaction already',
      )
      expect((await migrationStatus(sql, migrations)).migrations[1]?.applied_at).toBeNull()
    },
  )

  it('may have the same words where they are no statements', async () => {
    const text = `-- ; commit
      create table "; commit" (note text default '; rollback; it''s', other text default E'\\'; commit');
      create function a() returns integer language sql begin atomic select 1; select case when true then 2 end; end;
      do $$ begin perform 1; end $$;
      savepoint a; rollback to a;
      set local search_path = pg_catalog;`
    const { sql } = await createDatabase()
    await migrate(sql, await read({ '0001_a.sql': text }), quiet)
    expect(await sql`select public.a()`).toEqual([{ a: 2 }])
  })
})

describe('a file that fails', () => {
  it('leaves nothing behind, keeps the earlier ones, and is applied once it is corrected', async () => {
    const { sql } = await createDatabase()
    const broken = `create table half ();
insert into runs values (2);
-- Characters of two units each must not move the line: ${'🎉'.repeat(30)}
insert into rums values (2);
create table other_half ();`

    const message = await refusal(migrate(sql, await read({ ...files, '0002_audit.sql': broken }), quiet))
    expect(message).toBe('0002_audit.sql line 4: relation "rums" does not exist')
    expect(await listRuns(sql)).toEqual([1])
    expect(await listRelations(sql)).toEqual(['runs', 'schema_migrations', 'schema_migrations_pkey'])
    expect(await migrate(sql, await read(files), quiet)).toEqual({
      applied: ['0002_audit.sql', '0003_index.sql'],
      version: 3,
    })
    expect(await listRuns(sql)).toEqual([1, 2, 3])
  })

  it.each([
    ['select 1;\nselekt 2;', ' line 2: syntax error at or near "selekt"'],
    [
      "do $$\nbegin\n  raise exception 'two\nlines';\nend $$;",
      ' (PL/pgSQL function inline_code_block line 3 at RAISE): two lines',
    ],
    [
      'create table once (id integer unique deferrable initially deferred);\ninsert into once values (1), (1);',
      ': duplicate key value violates unique constraint "once_id_key"',
    ],
    ['create role other;', ': permission denied to create role'],
    [
      'create index concurrently on runs (file);',
      ': CREATE INDEX CONCURRENTLY cannot run inside a transaction block',
    ],
  ])('reports the error of Postgres for %j', async (text, message) => {
    const { sql } = await createDatabase()
    const migrations = await read({ '0001_runs.sql': files['0001_runs.sql'], '0002_bad.sql': text })
    expect(await refusal(migrate(sql, migrations, quiet))).toBe(`0002_bad.sql${message}`)
    expect(await listRelations(sql)).toEqual(['runs', 'schema_migrations', 'schema_migrations_pkey'])
  })

  it('fails for every installer, and none of them leaves anything', async () => {
    const { name, sql } = await createDatabase()
    const migrations = await read({
      '0001_a.sql': 'create table a ();',
      '0002_b.sql': 'create table b (); select 1 / 0;',
    })
    const messages = await Promise.all(
      Array.from({ length: 5 }, () => refusal(migrate(server.sql(name, { max: 1 }), migrations, quiet))),
    )
    expect(new Set(messages)).toEqual(new Set(['0002_b.sql: division by zero']))
    expect(await listRelations(sql)).toEqual(['a', 'schema_migrations', 'schema_migrations_pkey'])
  })
})

describe('a database that does not match the files', () => {
  /** Offers other files to a database with the first two: refused with `message`, and nothing changed. */
  async function expectRefusal(offered: Record<string, string>, message: string) {
    const { sql } = await createDatabase()
    const { '0003_index.sql': _, ...firstTwo } = files
    await migrate(sql, await read(firstTwo), quiet)
    const before = [await listRelations(sql), await sql`select * from schema_migrations order by version`]

    const migrations = await read(offered)
    expect(await refusal(migrate(sql, migrations, quiet))).toBe(message)
    expect([await listRelations(sql), await sql`select * from schema_migrations order by version`]).toEqual(
      before,
    )
    expect((await migrationStatus(sql, migrations)).problems.join('; ')).toBe(message)
  }

  it('is refused when an applied file was edited, also when others are missing', async () => {
    await expectRefusal(
      { ...files, '0001_runs.sql': 'create table runs (file bigint);' },
      '0001_runs.sql was edited after it was applied: restore it, put changes into a new file',
    )
  })

  it('is refused when an applied file has gone and another took its number', async () => {
    const { '0002_audit.sql': audit, ...others } = files
    await expectRefusal(
      { ...others, '0002_ledger.sql': audit },
      '0002_audit.sql was applied but is missing, 0002_ledger.sql has its number: restore it',
    )
  })

  it('is left alone when it is newer than the program', async () => {
    const { sql } = await createDatabase()
    await migrate(sql, await read(files), quiet)
    const older = await read({ '0001_runs.sql': files['0001_runs.sql'] })
    expect(await migrate(sql, older, quiet)).toEqual({ applied: [], version: 1 })
    expect((await migrationStatus(sql, older)).problems).toEqual([])
    expect(await listRuns(sql)).toEqual([1, 2, 3])
  })

  it('is refused when it is newer, and a file says that this program is too old for it', async () => {
    const { sql } = await createDatabase()
    const breaking = {
      ...files,
      '0004_break.sql': '-- Drops what older programs read.\n-- migrate: needs program 0003\nselect 1;\n',
    }
    await migrate(sql, await read(breaking), quiet)
    const { '0003_index.sql': _, ...older } = files
    expect(await refusal(migrate(sql, await read(older), quiet))).toBe(
      "the database is at 0004_break.sql, which no program older than migration 3 can run beside, and this program's newest is 0002_audit.sql: run a newer program",
    )
    expect(await migrate(sql, await read(files), quiet)).toEqual({ applied: [], version: 3 })
  })

  it('gains the column for that when the program before had made its table', async () => {
    const { sql } = await createDatabase()
    const first = await read({ '0001_runs.sql': files['0001_runs.sql'] })
    await migrate(sql, first, quiet)
    await sql`alter table schema_migrations drop column oldest_program`
    expect((await migrationStatus(sql, first)).problems).toEqual([])
    expect((await migrate(sql, await read(files), quiet)).applied).toHaveLength(2)
  })

  it('is refused when a row of schema_migrations was deleted', async () => {
    const { sql } = await createDatabase()
    const migrations = await read(files)
    await migrate(sql, migrations, quiet)
    await sql`delete from schema_migrations where version = 2`
    expect(await refusal(migrate(sql, migrations, quiet))).toBe(
      'schema_migrations has no row for number 2, but has 0003_index.sql',
    )
    expect(await listRuns(sql)).toEqual([1, 2, 3])
  })
})

describe('a role without the right to create', () => {
  it('is told so in one line, and may still find that there is nothing to do', async () => {
    const { sql } = await createDatabase()
    const migrations = await read(files)
    const [role] = await sql<[{ name: string }]>`select current_user as name`
    // Like a database of another owner since PostgreSQL 15.
    await sql`revoke create on schema public from pg_database_owner, public`
    expect(await refusal(migrate(sql, migrations, quiet))).toBe(
      `the role "${role.name}" may not create tables in the schema "public": grant it create on that schema (permission denied for schema public)`,
    )
    await sql`grant create on schema public to pg_database_owner`
    await migrate(sql, migrations, quiet)
    await sql`revoke create on schema public from pg_database_owner`
    expect(await migrate(sql, migrations, quiet)).toEqual({ applied: [], version: 3 })
  })

  it('is told so when search_path names no schema there is', async () => {
    const { name } = await createDatabase()
    const lost = server.sql(name, { connection: { search_path: 'absent' } })
    const migrations = await read(files)
    expect(await refusal(migrate(lost, migrations, quiet))).toBe(
      'the database has no schema to create tables in: check search_path',
    )
    expect((await migrationStatus(lost, migrations)).migrations).toHaveLength(3)
  })
})

describe('the status', () => {
  it('lists every file with the time it was applied, and changes nothing', async () => {
    const { sql } = await createDatabase()
    const migrations = await read(files)
    expect(await migrationStatus(sql, migrations)).toEqual({
      migrations: Object.keys(files).map((name) => ({ name, applied_at: null })),
      problems: [],
    })
    expect(await listRelations(sql)).toEqual([])

    await migrate(sql, migrations.slice(0, 1), quiet)
    const applied_at = expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/)
    expect((await migrationStatus(sql, migrations)).migrations).toEqual([
      { name: '0001_runs.sql', applied_at },
      { name: '0002_audit.sql', applied_at: null },
      { name: '0003_index.sql', applied_at: null },
    ])
  })
})

describe('npm run migrate', () => {
  const run = (args: string[], environment: Record<string, string> = {}, project = root) =>
    runBuilt('migrate', args, { environment, project, cwd: temporary })

  /** Copies the built command beside the given SQL files. */
  async function createProject(contents: Record<string, string>) {
    const project = await mkdtemp(join(temporary, 'project-'))
    await mkdir(join(project, 'dist'))
    await cp(join(root, 'dist/migrate.js'), join(project, 'dist/migrate.js'))
    await cp(await writeFiles(contents), join(project, 'sql'), { recursive: true })
    await writeFile(join(project, 'package.json'), '{ "type": "module" }')
    await symlink(join(root, 'node_modules'), join(project, 'node_modules'))
    return project
  }

  it('applies the files to DATABASE_URL and lists them', async () => {
    const { name, sql } = await createDatabase()
    const project = await createProject(files)
    const env = { DATABASE_URL: server.url(name) }

    expect(await run(['status'], env, project)).toEqual({
      code: 1,
      stdout: '0001_runs.sql   pending\n0002_audit.sql  pending\n0003_index.sql  pending\n',
      stderr: '3 pending: npm run migrate applies them\n',
    })
    expect(await run([], env, project)).toEqual({
      code: 0,
      stdout:
        'applied 0001_runs.sql\napplied 0002_audit.sql\napplied 0003_index.sql\nup to date at 0003_index.sql\n',
      stderr: '',
    })
    expect(await run([], env, project)).toEqual({
      code: 0,
      stdout: 'up to date at 0003_index.sql\n',
      stderr: '',
    })
    const status = await run(['status'], env, project)
    expect(status).toMatchObject({ code: 0, stderr: '' })
    expect(status.stdout).toMatch(
      /^0001_runs.sql {3}applied \d{4}-\S+Z\n0002_audit.sql {2}applied \S+Z\n0003_index.sql {2}applied \S+Z\n$/,
    )
    expect(await listRuns(sql)).toEqual([1, 2, 3])
  })

  it('exits with 1 and one line when it refuses or a file fails', async () => {
    const { name } = await createDatabase()
    const env = { DATABASE_URL: server.url(name) }
    const broken = await createProject({ ...files, '0002_audit.sql': 'create tabel audit ();' })
    expect(await run([], env, broken)).toEqual({
      code: 1,
      stdout: 'applied 0001_runs.sql\n',
      stderr: '0002_audit.sql line 1: syntax error at or near "tabel"\n',
    })
    const edited = await createProject({ ...files, '0001_runs.sql': 'create table runs ();' })
    const stderr = '0001_runs.sql was edited after it was applied: restore it, put changes into a new file\n'
    expect(await run([], env, edited)).toEqual({ code: 1, stdout: '', stderr })
    expect(await run(['status'], env, edited)).toMatchObject({ code: 1, stderr })
  })

  it('finds the embedded server of a running `npm start` without DATABASE_URL', async () => {
    const names = (await readMigrations(join(root, 'sql'))).map(({ name }) => name)
    const env = { DATA_DIR: server.dataDirectory }
    expect(await run([], env)).toEqual({
      code: 0,
      stdout: [...names.map((name) => `applied ${name}`), `up to date at ${names.at(-1)}`, ''].join('\n'),
      stderr: '',
    })
    expect((await run(['status'], env)).stdout.trim().split('\n')).toHaveLength(names.length)
  })

  it('says in one line that there is no database', async () => {
    const { code, stdout, stderr } = await run([], { DATA_DIR: join(temporary, 'nothing') })
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' })
    expect(stderr).toMatch(
      /^no database: run npm start first \(no server is running on .*\), or set DATABASE_URL\n$/,
    )
  })

  it.each([
    ['postgres://app:hunter2@127.0.0.1:1/tasks', /^cannot use the database: .*ECONNREFUSED.*\n$/],
    ['postgres://app:hunter2@localhost:1/tasks', /^cannot use the database: .*ECONNREFUSED.*\n$/],
    ['postgres://app:hunter2@host.invalid/tasks', /^cannot use the database: .*(ENOTFOUND|EAI_AGAIN).*\n$/],
    ['mysql://app:hunter2@127.0.0.1/tasks', /^DATABASE_URL must look like postgres:.*\n$/],
    ['postgres://app:hunter2%@127.0.0.1/tasks', /^DATABASE_URL must look like postgres:.*\n$/],
    ['postgres://app:hunter2@127.0.0.1:port/tasks', /^DATABASE_URL must look like postgres:.*\n$/],
  ])('says in one line what is wrong with %s, without the password', async (DATABASE_URL, line) => {
    const { code, stdout, stderr } = await run([], { DATABASE_URL })
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' })
    expect(stderr).toMatch(line)
    expect(stderr).not.toContain('hunter2')
  })

  it('explains itself, and refuses arguments it does not know', async () => {
    const { code, stdout } = await run(['--help'])
    expect(code).toBe(0)
    expect(stdout).toContain('npm run migrate -- status')
    const refusals = [
      [['up'], 'unknown argument "up"'],
      [['--force'], "Unknown option '--force'"],
      [['status', 'up'], 'unknown argument "up"'],
    ] as const
    for (const [args, problem] of refusals)
      expect(await run([...args])).toEqual({
        code: 1,
        stdout: '',
        stderr: `${problem}: see npm run migrate -- --help\n`,
      })
  })
})
