/** Schemas of what the task operations take and answer. */
import * as z from 'zod'
import { Cursor, Limit } from '../http/page.ts'
import { hasOneOf, isObject } from '../http/schemas.ts'
import { filterShape, orderingNames } from '../resource/list.ts'
import { ignoredShapeOf, shapeOf, writtenNames } from '../resource/members.ts'
import { filters, members, orderings } from './task.ts'

export const Task = z.object(shapeOf(members, 'shown')).meta({ id: 'Task' })
export type Task = z.output<typeof Task>

const written = shapeOf(members, 'written')
const ignored = ignoredShapeOf(members)
const names = writtenNames(members)

export const NewTask = z.strictObject(written).meta({ id: 'NewTask' })
export type NewTask = z.output<typeof NewTask>

export const TaskReplacement = z.strictObject({ ...written, ...ignored }).meta({ id: 'TaskReplacement' })

/** Every member is optional; one that is left out keeps its value. */
const changeShape = z.object(written).partial().shape

export const TaskChange = z
  .strictObject({ ...changeShape, ...ignored })
  .refine((change) => names.some((name) => name in change), {
    error: `Give at least one of ${names.join(', ')}.`,
    when: isObject,
  })
  .meta({ id: 'TaskChange', ...hasOneOf(...names.map((name) => [name])) })
export type TaskChange = z.output<z.ZodObject<typeof changeShape>>

const Count = z
  .enum(['true', 'false'])
  .transform((value) => value === 'true')
  .default(false)
  .meta({
    description: 'Adds the exact number of all that match',
    type: 'boolean',
    enum: undefined,
    default: false,
  })

export const TaskListQuery = z.strictObject({
  ...filterShape(filters),
  ordering: z.enum(orderingNames(orderings)).default('-created_at'),
  count: Count,
  limit: Limit.meta({
    description: 'Length of a page at most; one of more than 1 MiB of tasks is shorter',
  }),
  cursor: Cursor,
})
export type TaskListQuery = z.output<typeof TaskListQuery>

export const TaskPage = z
  .object({
    next: z.string().nullable().describe('URL of the next page'),
    previous: z.string().nullable().describe('URL of the previous page'),
    count: z.int().min(0).optional().describe('With count=true'),
    results: z.array(Task),
  })
  .meta({ id: 'TaskPage' })
