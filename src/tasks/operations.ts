/** The task operations. */
import { operation } from '../http/operation.ts'
import { NewTask, Task, TaskChange, TaskListQuery, TaskPage, TaskReplacement } from './schemas.ts'
import { changedSince } from './service.ts'

const tag = {
  name: 'Tasks',
  description: 'Tasks, and lists of them: a user sees those that they created and those assigned to them',
}

const absent = 'There is no such task, or the caller may not see it'

const task = {
  id: 7,
  title: 'Water the plants',
  description: null,
  status: 'pending',
  assigned_to: null,
  created_by: 1,
  created_at: '2026-11-22T07:04:05.123Z',
  updated_at: '2026-11-22T07:04:05.123Z',
  completed_at: null,
}
const later = '2026-11-23T08:00:00.000Z'
const changedLater = (change: Partial<Task>) => ({ ...task, updated_at: later, ...change })
const header = { 'If-Match': '"3.8145279"' }
const page = (...results: object[]) => ({ next: null, previous: null, results })

export const listTasks = operation({
  id: 'listTasks',
  method: 'get',
  path: '/api/tasks/',
  tag,
  summary: 'List the tasks that the caller created or is assigned to',
  description:
    'Following `next` until it is null visits each task that matches all the while exactly once, whatever else happens.',
  authenticated: true,
  cached: true,
  paged: true,
  query: TaskListQuery,
  answers: {
    200: { description: 'A page', schema: TaskPage, headers: ['Link', 'Cache-Status'] },
  },
  problems: { 503: 'The search took too long, too many are under way, or the database is away' },
  examples: {
    'All tasks, newest first': { answer: page(task) },
    'To be done by the caller': {
      query: { status: 'pending', assigned_to: 'me', ordering: '-updated_at' },
      answer: page({ ...task, assigned_to: 1 }),
    },
    'Created by a user since a moment': {
      query: { created_by: 1, created_after: '2026-11-22T08:00:00+01:00' },
      answer: page(task),
    },
    'Assigned to nobody, changed on one day': {
      query: { assigned_to: 'none', updated_after: '2026-11-22', updated_before: '2026-11-23' },
      answer: page(task),
    },
    'Found by a word, counted, one a page': {
      query: { search: 'plants', count: true, limit: 1 },
      answer: {
        ...page(task),
        next: '/api/tasks/?search=plants&count=true&limit=1&cursor=Ab3_xYz',
        count: 2,
      },
    },
  },
})

export const createTask = operation({
  id: 'createTask',
  method: 'post',
  path: '/api/tasks/',
  tag,
  summary: 'Create a task',
  description: 'The caller is its creator. One that is created as completed is notified of too.',
  authenticated: true,
  idempotency: 'key',
  body: { schema: NewTask, mediaTypes: ['application/json'] },
  answers: {
    201: {
      description: 'Created, now or by the first request with this key',
      schema: Task,
      headers: ['ETag', 'Location', 'Idempotency-Replayed'],
    },
  },
  examples: {
    'Only a title': { body: { title: task.title }, answer: task },
    'Assigned to a user, once': {
      header: { 'Idempotency-Key': '3f1c9a52-6a0e-4f5b-9a3e-7d2c1b0a9f8e' },
      body: { title: task.title, description: 'Not the cactus.', assigned_to: 2 },
      answer: { ...task, description: 'Not the cactus.', assigned_to: 2 },
    },
    'Completed already': {
      body: { title: task.title, status: 'completed' },
      answer: { ...task, status: 'completed', completed_at: task.created_at },
    },
  },
})

export const getTask = operation({
  id: 'getTask',
  method: 'get',
  path: '/api/tasks/:id/',
  tag,
  summary: 'Read a task',
  description: 'Its creator and its assignee may; for anybody else it does not exist.',
  authenticated: true,
  cached: true,
  conditional: changedSince,
  answers: {
    200: { description: 'The task', schema: Task, headers: ['ETag', 'Cache-Status'] },
    304: { description: 'It has not changed', headers: ['ETag', 'Cache-Status'] },
  },
  problems: { 404: absent },
  examples: {
    'The task': { answer: task },
    'Unless it is the same': { header: { 'If-None-Match': '"3.8145279"' }, status: 304 },
  },
})

export const replaceTask = operation({
  id: 'replaceTask',
  method: 'put',
  path: '/api/tasks/:id/',
  tag,
  summary: 'Change a task; title is required, members left out keep their value',
  description:
    'The task may be sent as it was read, with changes: members that only the service sets are ignored.',
  authenticated: true,
  conditional: changedSince,
  body: { schema: TaskReplacement, mediaTypes: ['application/json'] },
  answers: { 200: { description: 'The task as it is now', schema: Task, headers: ['ETag'] } },
  problems: { 404: absent },
  examples: {
    'A new title': {
      body: { title: 'Water all plants' },
      answer: changedLater({ title: 'Water all plants' }),
    },
    'The task as it was read, with another title': {
      header,
      body: { ...task, title: 'Water all plants' },
      answer: changedLater({ title: 'Water all plants' }),
    },
  },
})

export const changeTask = operation({
  id: 'changeTask',
  method: 'patch',
  path: '/api/tasks/:id/',
  tag,
  summary: 'Change members of a task; null clears (RFC 7396)',
  description:
    'At least one member that a client may write has to be there. Two requests at once that change different members ' +
    'both take effect.',
  authenticated: true,
  conditional: changedSince,
  body: { schema: TaskChange, mediaTypes: ['application/json', 'application/merge-patch+json'] },
  answers: { 200: { description: 'The task as it is now', schema: Task, headers: ['ETag'] } },
  problems: { 404: absent },
  examples: {
    'It is done': {
      body: { status: 'completed' },
      answer: changedLater({ status: 'completed', completed_at: later }),
    },
    'For another user, unless it has changed': {
      header,
      body: { assigned_to: 2 },
      answer: changedLater({ assigned_to: 2 }),
    },
    'Without description and assignee': {
      body: { description: null, assigned_to: null },
      answer: changedLater({}),
    },
    'The task as it was read, completed': {
      body: { ...task, status: 'completed' },
      answer: changedLater({ status: 'completed', completed_at: later }),
    },
  },
})

export const deleteTask = operation({
  id: 'deleteTask',
  method: 'delete',
  path: '/api/tasks/:id/',
  tag,
  summary: 'Delete a task',
  description: 'Only its creator may.',
  authenticated: true,
  conditional: changedSince,
  answers: { 204: { description: 'Deleted' } },
  problems: { 403: 'Only its creator may delete a task', 404: absent },
  examples: { 'The task': {}, 'Unless it has changed': { header } },
})
