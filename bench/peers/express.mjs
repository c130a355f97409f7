// Express 5 with pg, jsonwebtoken, express-rate-limit on Redis, zod and bcrypt. The secret is a KeyObject:
// jsonwebtoken would try to read a string as a public key at every request, which costs more than the rest.
import { createSecretKey } from 'node:crypto'
import bcrypt from 'bcrypt'
import express from 'express'
import { rateLimit } from 'express-rate-limit'
import { Redis } from 'ioredis'
import jwt from 'jsonwebtoken'
import { RedisStore } from 'rate-limit-redis'
import { z } from 'zod'
import { JWT_SECRET, limit, openDatabase, port, REDIS_URL } from './common.mjs'

const query = await openDatabase('pg')
const redis = new Redis(REDIS_URL)
const key = createSecretKey(Buffer.from(JWT_SECRET))
const app = express()
app.use(express.json())

const limiter = rateLimit({
  windowMs: limit.windowMs,
  limit: limit.requests,
  standardHeaders: 'draft-7',
  legacyHeaders: false,
  store: new RedisStore({ sendCommand: (command, ...values) => redis.call(command, ...values) }),
  keyGenerator: (request) => request.user?.sub ?? 'anonymous',
})

function authenticate(request, response, next) {
  const [scheme, token] = (request.get('authorization') ?? '').split(' ')
  try {
    if (scheme !== 'Bearer') throw new Error('no token')
    request.user = jwt.verify(token, key, { algorithms: ['HS256'] })
  } catch {
    return response.status(401).json({ error: 'unauthorized' })
  }
  next()
}
const userOf = (request) => Number(request.user.sub)

const Status = z.enum(['pending', 'completed'])
const Id = z.coerce.number().int().positive()
const ListQuery = z.object({ status: Status })
const NewTask = z.object({
  title: z.string().min(1).max(255),
  description: z.string().nullish(),
  status: Status.optional(),
  assigned_to: z.number().int().nullish(),
})
const TaskChange = NewTask.partial()
const Credentials = z.object({ username: z.string(), password: z.string() })

app.get('/tasks', authenticate, limiter, async (request, response) => {
  const { status } = ListQuery.parse(request.query)
  response.json({ data: await query('list', [userOf(request), status]) })
})
app.get('/tasks/:id', authenticate, limiter, async (request, response) => {
  const [task] = await query('find', [Id.parse(request.params.id), userOf(request)])
  if (!task) return response.status(404).json({ error: 'not found' })
  response.json(task)
})
app.post('/tasks', authenticate, limiter, async (request, response) => {
  const { title, description = null, status = 'pending', assigned_to = null } = NewTask.parse(request.body)
  const [task] = await query('create', [title, description, status, assigned_to, userOf(request)])
  response.status(201).json(task)
})
app.patch('/tasks/:id', authenticate, limiter, async (request, response) => {
  const id = Id.parse(request.params.id)
  const { title = null, description = null, status = null } = TaskChange.parse(request.body)
  const [task] = await query('update', [id, title, description, status, userOf(request)])
  if (!task) return response.status(404).json({ error: 'not found' })
  response.json(task)
})
app.post('/token', limiter, async (request, response) => {
  const { username, password } = Credentials.parse(request.body)
  const [user] = await query('user', [username])
  if (!user || !(await bcrypt.compare(password, user.password_hash)))
    return response.status(401).json({ error: 'bad credentials' })
  response.json({ access: jwt.sign({ sub: String(user.id) }, key, { algorithm: 'HS256', expiresIn: '15m' }) })
})
app.use((error, _request, response, _next) => {
  response.status(error instanceof z.ZodError ? 400 : 500).json({ error: error.message })
})
app.listen(port, '127.0.0.1')
