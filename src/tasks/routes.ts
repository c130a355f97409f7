/** The task operations: validated input in, a verb called, its answer out. */
import type { Context, Hono } from 'hono'
import { refuseEnded } from '../http/authenticate.ts'
import { cachedOr } from '../http/cached-answer.ts'
import { names, preconditionOf } from '../http/conditional.ts'
import type { AppEnv } from '../http/deps.ts'
import { mount } from '../http/operation.ts'
import { linksOf, positionOf } from '../http/page.ts'
import { pathId } from '../http/path-id.ts'
import * as operations from './operations.ts'
import * as verbs from './service.ts'

export function mountTasks(app: Hono<AppEnv>) {
  mount(app, operations.listTasks, async (c, { query }) => {
    const { head: link, body } = await cachedOr(c, async () => {
      const { deps, caller } = c.var
      const list = { path: operations.listTasks.path, userId: caller.userId, query }
      const page = await verbs.listTasks(deps, caller, query, await positionOf(c, list))
      if (page === verbs.ended) return refuseEnded(c)
      const { next, previous, link } = linksOf(c, list, page)
      const count = page.count === undefined ? {} : { count: page.count }
      return { head: link, body: JSON.stringify({ ...count, next, previous, results: page.tasks }) }
    })
    if (link) c.header('Link', link)
    c.header('Cache-Control', 'private, no-cache')
    return c.body(body, 200, { 'Content-Type': 'application/json' })
  })

  mount(app, operations.createTask, async (c, { body }) => {
    const { deps, caller } = c.var
    const key = c.req.header('Idempotency-Key')
    const created =
      key === undefined
        ? await verbs.createTask(deps, caller, body)
        : await verbs.createTaskOnce(deps, caller, body, { key, sent: await c.req.json() })
    if (created === verbs.ended) return refuseEnded(c)
    if ('replayed' in created && created.replayed) c.header('Idempotency-Replayed', 'true')
    c.header('Location', `${deps.config.publicUrl}/api/tasks/${created.task.id}/`)
    return answerTask(c, written(created), 201)
  })

  mount(app, operations.getTask, async (c) => {
    const { head: tag, body } = await cachedOr(c, async () => {
      const found = await verbs.getTask(c.get('deps'), c.get('caller'), pathId(c))
      if (found === verbs.ended) return refuseEnded(c)
      return { head: found.tag, body: JSON.stringify(found.task) }
    })
    const { match, noneMatch } = preconditionOf(c)
    if (match !== null && !names(match, tag)) throw verbs.changedSince(tag)
    return answerTask(c, { body, tag }, names(noneMatch, tag) ? 304 : 200)
  })

  for (const operation of [operations.replaceTask, operations.changeTask]) {
    mount(app, operation, async (c, { body }) => {
      const { title, description, status, assigned_to } = body
      const change = { title, description, status, assigned_to }
      const changed = await verbs.changeTask(c.get('deps'), c.get('caller'), {
        id: pathId(c),
        change,
        precondition: preconditionOf(c),
      })
      if (changed === verbs.ended) return refuseEnded(c)
      return answerTask(c, written(changed), 200)
    })
  }

  mount(app, operations.deleteTask, async (c) => {
    const target = { id: pathId(c), precondition: preconditionOf(c) }
    const removed = await verbs.removeTask(c.get('deps'), c.get('caller'), target)
    if (removed === verbs.ended) return refuseEnded(c)
    return c.body(null, 204)
  })
}

const written = ({ task, tag }: verbs.TaggedTask) => ({ body: JSON.stringify(task), tag })

function answerTask(
  c: Context<AppEnv>,
  { body, tag }: { body: string; tag: string },
  status: 200 | 201 | 304,
) {
  c.header('ETag', verbs.entityTag(tag))
  c.header('Cache-Control', 'private, no-cache')
  if (status === 304) return c.body(null, 304)
  return c.body(body, status, { 'Content-Type': 'application/json' })
}
