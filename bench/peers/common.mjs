// Shared by the peers: settings, and the five statements over either driver.

export const { DATABASE_URL, REDIS_URL, JWT_SECRET } = process.env
export const port = Number(process.env.PORT)
/** Counted at every request, and never reached. */
export const limit = { requests: 10_000_000, windowMs: 60_000 }
const poolSize = 10

const columns = 'id, title, description, status, assigned_to, created_by, created_at, updated_at'
const statements = {
  list: `select ${columns} from tasks where created_by = $1 and status = $2
    order by created_at desc, id desc limit 20`,
  find: `select ${columns} from tasks where id = $1 and (created_by = $2 or assigned_to = $2)`,
  create: `insert into tasks (title, description, status, assigned_to, created_by)
    values ($1, $2, $3, $4, $5) returning ${columns}`,
  update: `update tasks set title = coalesce($2, title), description = coalesce($3, description),
      status = coalesce($4, status), updated_at = now()
    where id = $1 and created_by = $5 returning ${columns}`,
  user: 'select id, password_hash from users where username = $1',
}

/** Returns a function that runs a statement by its name, prepared, and resolves with its rows. */
export async function openDatabase(driver) {
  if (driver === 'pg') {
    const { default: pg } = await import('pg')
    const pool = new pg.Pool({ connectionString: DATABASE_URL, max: poolSize })
    return async (name, values) => (await pool.query({ name, text: statements[name], values })).rows
  }
  const { default: postgres } = await import('postgres')
  const sql = postgres(DATABASE_URL, { max: poolSize })
  return (name, values) => sql.unsafe(statements[name], values, { prepare: true })
}
