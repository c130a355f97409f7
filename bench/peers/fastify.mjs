// Fastify 5 with postgres.js, written for speed as its documentation advises: JSON schemas for input and
// output, fast-jwt, prepared statements. FULL=1 adds what our API does at each request: a log line, a request
// id, security headers and entity tags.
import { randomUUID } from 'node:crypto'
import jwt from '@fastify/jwt'
import rateLimit from '@fastify/rate-limit'
import bcrypt from 'bcrypt'
import Fastify from 'fastify'
import { Redis } from 'ioredis'
import { JWT_SECRET, limit, openDatabase, port, REDIS_URL } from './common.mjs'

const query = await openDatabase('postgres.js')
const isFull = process.env.FULL === '1'
const app = isFull
  ? Fastify({ logger: { level: 'info' }, genReqId: () => randomUUID(), requestIdHeader: 'x-request-id' })
  : Fastify({ logger: false })
if (isFull) {
  await app.register((await import('@fastify/helmet')).default)
  await app.register((await import('@fastify/etag')).default)
  app.addHook('onRequest', async (request, reply) => {
    reply.header('x-request-id', request.id)
  })
}
await app.register(jwt, {
  secret: JWT_SECRET,
  sign: { algorithm: 'HS256', expiresIn: '15m' },
  verify: { algorithms: ['HS256'] },
})
await app.register(rateLimit, {
  max: limit.requests,
  timeWindow: limit.windowMs,
  redis: new Redis(REDIS_URL),
  hook: 'preHandler',
  keyGenerator: (request) => request.user?.sub ?? request.ip,
})

async function authenticate(request, reply) {
  try {
    await request.jwtVerify()
  } catch {
    return reply.code(401).send({ error: 'unauthorized' })
  }
}
const userOf = (request) => Number(request.user.sub)

const Status = { type: 'string', enum: ['pending', 'completed'] }
const Time = { type: 'string', format: 'date-time' }
const Task = {
  type: 'object',
  properties: {
    id: { type: 'integer' },
    title: { type: 'string' },
    description: { type: ['string', 'null'] },
    status: { type: 'string' },
    assigned_to: { type: ['integer', 'null'] },
    created_by: { type: 'integer' },
    created_at: Time,
    updated_at: Time,
  },
}
const params = {
  type: 'object',
  properties: { id: { type: 'integer', minimum: 1 } },
  required: ['id'],
}
const body = {
  type: 'object',
  additionalProperties: false,
  properties: {
    title: { type: 'string', minLength: 1, maxLength: 255 },
    description: { type: 'string', nullable: true },
    status: Status,
    assigned_to: { type: 'integer', nullable: true },
  },
}
const Page = { type: 'object', properties: { data: { type: 'array', items: Task } } }
const Credentials = {
  type: 'object',
  required: ['username', 'password'],
  properties: { username: { type: 'string' }, password: { type: 'string' } },
}
const querystring = { type: 'object', properties: { status: Status }, required: ['status'] }

app.get(
  '/tasks',
  { onRequest: authenticate, schema: { querystring, response: { 200: Page } } },
  async (request) => ({ data: await query('list', [userOf(request), request.query.status]) }),
)
app.get(
  '/tasks/:id',
  { onRequest: authenticate, schema: { params, response: { 200: Task } } },
  async (request, reply) => {
    const [task] = await query('find', [request.params.id, userOf(request)])
    return task ?? reply.code(404).send({ error: 'not found' })
  },
)
app.post(
  '/tasks',
  { onRequest: authenticate, schema: { body: { ...body, required: ['title'] }, response: { 201: Task } } },
  async (request, reply) => {
    const { title, description = null, status = 'pending', assigned_to = null } = request.body
    const [task] = await query('create', [title, description, status, assigned_to, userOf(request)])
    return reply.code(201).send(task)
  },
)
app.patch(
  '/tasks/:id',
  { onRequest: authenticate, schema: { params, body, response: { 200: Task } } },
  async (request, reply) => {
    const { title = null, description = null, status = null } = request.body
    const [task] = await query('update', [request.params.id, title, description, status, userOf(request)])
    return task ?? reply.code(404).send({ error: 'not found' })
  },
)
app.post('/token', { schema: { body: Credentials } }, async (request, reply) => {
  const { username, password } = request.body
  const [user] = await query('user', [username])
  if (!user || !(await bcrypt.compare(password, user.password_hash)))
    return reply.code(401).send({ error: 'bad credentials' })
  return { access: await reply.jwtSign({ sub: String(user.id) }) }
})
await app.listen({ port, host: '127.0.0.1' })
