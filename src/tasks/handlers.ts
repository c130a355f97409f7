/** Handlers of the task operations. */
import type { Answer } from '../http/answer.ts'
import { json, jsonList, noContent } from '../http/answer.ts'
import { entityTag } from '../http/conditional.ts'
import { type Implementation, implement } from '../http/implement.ts'
import * as operations from './operations.ts'
import * as service from './service.ts'

/** A client may store the answer, and asks again before it uses it. */
const revalidated = { 'Cache-Control': 'private, no-cache' }

const answerTask = ({ task, tag }: service.TaggedTask, status = 200, headers = {}): Answer =>
  json(task, status, { ETag: entityTag(tag), ...revalidated, ...headers })

export const tasks: Implementation[] = [
  implement(operations.listTasks, async ({ deps, caller }, { query, page }) => {
    const { tasks, count, pages } = await service.listTasks(deps, caller, query, page.position)
    const { next, previous, headers } = page.links(pages)
    return jsonList({ count, next, previous }, tasks, { ...headers, ...revalidated })
  }),

  implement(operations.createTask, async ({ deps, caller }, { body, idempotencyKey }) => {
    const created = idempotencyKey
      ? await service.createTaskOnce(deps, caller, body, idempotencyKey)
      : { ...(await service.createTask(deps, caller, body)), replayed: false }
    return answerTask(created, 201, {
      Location: `${deps.config.publicUrl}/api/tasks/${created.task.id}/`,
      ...(created.replayed ? { 'Idempotency-Replayed': 'true' } : {}),
    })
  }),

  implement(operations.getTask, async ({ deps, caller }, { id }) =>
    answerTask(await service.getTask(deps, caller, id)),
  ),

  ...[operations.replaceTask, operations.changeTask].map((operation) =>
    implement(operation, async ({ deps, caller }, { id, body: change, precondition }) =>
      answerTask(await service.changeTask(deps, caller, { id, change, precondition })),
    ),
  ),

  implement(operations.deleteTask, async ({ deps, caller }, target) => {
    await service.removeTask(deps, caller, target)
    return noContent
  }),
]
