/** The task operations as clients see them. */
import * as z from 'zod'
import { operation } from '../http/operation.ts'
import { NewTask, Task, TaskChange, TaskListQuery, TaskPage, TaskReplacement } from './schemas.ts'

const etag = { ETag: 'Strong; changes with every change of the task' }
const cacheStatus = { 'Cache-Status': "Whether the service's own cache had it (RFC 9211)" }
const precondition = z.string().optional()
const ifMatch = z.object({
  'If-Match': precondition.describe(
    'Answers 412, having done nothing, unless the task still has this entity tag',
  ),
})
const changed = 'The task has changed since; ETag says what it is now'
const absent = 'There is no such task, or the caller may not see it'

export const listTasks = operation({
  id: 'listTasks',
  method: 'get',
  path: '/api/tasks/',
  tag: 'Tasks',
  summary: 'List the tasks that the caller created or is assigned to',
  authenticated: true,
  query: TaskListQuery,
  answers: {
    200: {
      description: 'A page',
      schema: TaskPage,
      headers: {
        Link: 'The same URLs as next and previous (RFC 8288); left out where it would reach 2 KB',
        ...cacheStatus,
      },
    },
  },
  problems: { 503: 'The search took too long, too many are under way, or the database is away' },
})

export const createTask = operation({
  id: 'createTask',
  method: 'post',
  path: '/api/tasks/',
  tag: 'Tasks',
  summary: 'Create a task',
  authenticated: true,
  headers: z.object({
    'Idempotency-Key': z
      .string()
      .regex(/^[\x21-\x7e]{1,255}$/, 'It must have 1 to 255 visible ASCII characters.')
      .optional()
      .describe('A repeat with the same body within 24 hours answers as the first did'),
  }),
  body: { schema: NewTask, mediaTypes: ['application/json'] },
  answers: {
    201: {
      description: 'Created, now or by the first request with this key',
      schema: Task,
      headers: {
        ...etag,
        Location: 'The path of the task',
        'Idempotency-Replayed': 'true when it is the first answer again',
      },
    },
  },
  problems: {
    409: 'The first request with this Idempotency-Key is still under way',
    422: 'The Idempotency-Key was used with another body',
  },
})

export const getTask = operation({
  id: 'getTask',
  method: 'get',
  path: '/api/tasks/:id/',
  tag: 'Tasks',
  summary: 'Read a task',
  authenticated: true,
  headers: ifMatch.extend({
    'If-None-Match': precondition.describe('Answers 304 while the task still has this entity tag'),
  }),
  answers: {
    200: { description: 'The task', schema: Task, headers: { ...etag, ...cacheStatus } },
    304: { description: 'It has not changed', headers: { ...etag, ...cacheStatus } },
  },
  problems: { 404: absent, 412: changed },
})

export const replaceTask = operation({
  id: 'replaceTask',
  method: 'put',
  path: '/api/tasks/:id/',
  tag: 'Tasks',
  summary: 'Change a task; title is required, members left out keep their value',
  authenticated: true,
  headers: ifMatch,
  body: { schema: TaskReplacement, mediaTypes: ['application/json'] },
  answers: { 200: { description: 'The task as it is now', schema: Task, headers: etag } },
  problems: { 404: absent, 412: changed },
})

export const changeTask = operation({
  id: 'changeTask',
  method: 'patch',
  path: '/api/tasks/:id/',
  tag: 'Tasks',
  summary: 'Change members of a task; null clears (RFC 7396)',
  authenticated: true,
  headers: ifMatch,
  body: { schema: TaskChange, mediaTypes: ['application/json', 'application/merge-patch+json'] },
  answers: { 200: { description: 'The task as it is now', schema: Task, headers: etag } },
  problems: { 404: absent, 412: changed },
})

export const deleteTask = operation({
  id: 'deleteTask',
  method: 'delete',
  path: '/api/tasks/:id/',
  tag: 'Tasks',
  summary: 'Delete a task',
  authenticated: true,
  headers: ifMatch,
  answers: { 204: { description: 'Deleted' } },
  problems: { 403: 'Only its creator may delete a task', 404: absent, 412: changed },
})
