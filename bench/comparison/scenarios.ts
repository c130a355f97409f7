/** The requests of the benchmark, the same for every target but for their paths, and their right answers. */
import { password, taskCount, userCount } from './data.ts'

export type Request = { method: string; path: string; headers: Record<string, string>; body: string }

/** Paths of a target: its tasks, a task, and its log-in. */
export type Paths = {
  tasks: string
  task: (id: number) => string
  list: (status: string) => string
  login: string
}

type Task = { created_by: number; status: string; title: string; id: number }
type Answer = Task & { data?: Task[]; results?: Task[] }

export type Scenario = {
  method: 'GET' | 'POST' | 'PATCH'
  status: number
  path: (paths: Paths, position: number) => string
  body?: (position: number) => object
  isRight: (answer: Answer, position: number) => boolean
  /** Log-ins are so slow that few at once keep the processor busy. */
  connections: number
  /** Log-ins need none. */
  token: boolean
}

/** Different requests of a run, sent in turn. Each of 64 connections gets both titles of a task. */
export const requestCount = 2048

/** Every user is as frequent, and neighbouring requests read different pages of the table. */
const taskOf = (position: number) => ((position * 7919) % taskCount) + 1
const userOf = (position: number) => ((taskOf(position) - 1) % userCount) + 1
/** Each user asks for both. */
const statusOf = (position: number) => (Math.floor(position / userCount) % 2 === 0 ? 'pending' : 'completed')
/** Half as many tasks as requests: each is renamed twice in a run, so that every update changes its row. */
const renamed = (position: number) => position % (requestCount / 2)

const usual = { connections: 64, token: true }
const reading = { ...usual, method: 'GET', status: 200 } as const

export const scenarios: Record<string, Scenario> = {
  list: {
    ...reading,
    path: ({ list }, position) => list(statusOf(position)),
    isRight: ({ data, results }, position) => {
      const tasks = data ?? results ?? []
      return tasks.length === 20 && tasks.every(({ status }) => status === statusOf(position))
    },
  },
  get: {
    ...reading,
    path: ({ task }, position) => task(taskOf(position)),
    isRight: ({ id, created_by }, position) => id === taskOf(position) && created_by === userOf(position),
  },
  create: {
    ...usual,
    method: 'POST',
    status: 201,
    path: ({ tasks }) => tasks,
    body: (position) => ({
      title: `Created task ${position}`,
      description: 'Created by the benchmark; '.repeat(4),
      status: 'pending',
      assigned_to: ((position * 31) % userCount) + 1,
    }),
    isRight: ({ title }, position) => title === `Created task ${position}`,
  },
  update: {
    ...usual,
    method: 'PATCH',
    status: 200,
    path: ({ task }, position) => task(taskOf(renamed(position))),
    body: (position) => ({ title: `Renamed at ${position}` }),
    isRight: ({ title }, position) => title === `Renamed at ${position}`,
  },
  login: {
    connections: 8,
    token: false,
    method: 'POST',
    status: 200,
    path: ({ login }) => login,
    body: (position) => ({ username: `user${userOf(position)}`, password }),
    isRight: (answer) => JSON.stringify(answer).includes('eyJ'),
  },
}

/** @param position of the request in all runs, so that no title comes twice */
export function requestAt(
  { method, path, body, token }: Scenario,
  { paths, tokens }: { paths: Paths; tokens: string[] },
  position: number,
): Request {
  const user = userOf(method === 'PATCH' ? renamed(position) : position)
  const content = body ? JSON.stringify(body(position)) : ''
  const headers = {
    Accept: 'application/json',
    ...(token ? { Authorization: `Bearer ${tokens[user - 1]}` } : {}),
    ...(body
      ? { 'Content-Type': 'application/json', 'Content-Length': String(Buffer.byteLength(content)) }
      : {}),
  }
  return { method, path: path(paths, position), headers, body: content }
}
