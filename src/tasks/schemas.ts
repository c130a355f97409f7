/** What the task operations take and answer. */
import * as z from 'zod'
import { DateParameter } from '../http/date-parameter.ts'
import { Cursor, Limit } from '../http/page.ts'
import { hasOneOf, Id, int64, isObject, Timestamp } from '../http/schemas.ts'
import { text } from '../http/text.ts'
import { wordsOf } from './search-words.ts'

const statuses = ['pending', 'completed'] as const
export const orderings = [
  'created_at',
  '-created_at',
  'updated_at',
  '-updated_at',
  'title',
  '-title',
] as const

const Title = text({ minimum: 1, maximum: 255, trim: true })
const Description = text({ maximum: 10_000 }).nullable()
const Assignee = z.int("It must be a user's id or null.").meta(int64).nullable()

const writable = {
  title: Title,
  description: Description.optional(),
  status: z.enum(statuses).optional(),
  assigned_to: Assignee.optional().describe('Id of a user, or null'),
}

export const Task = z
  .object({
    id: Id,
    title: z.string(),
    description: z.string().nullable(),
    status: z.enum(statuses),
    assigned_to: Id.nullable(),
    created_by: Id,
    created_at: Timestamp,
    updated_at: Timestamp,
    completed_at: Timestamp.nullable(),
  })
  .meta({ id: 'Task' })
export type Task = z.output<typeof Task>

export const NewTask = z.strictObject(writable).meta({ id: 'NewTask' })

/**
 * Accepted and ignored, whatever their type, so that what was read can be edited and sent back. The document does not
 * call them `readOnly`: validators refuse such members in a request.
 */
const readOnly = Object.fromEntries(
  ['id', 'created_by', 'created_at', 'updated_at', 'completed_at'].map((name) => [
    name,
    z.unknown().optional().meta({ description: 'Ignored: it may be sent back as it was read' }),
  ]),
)

export const TaskReplacement = z.strictObject({ ...writable, ...readOnly }).meta({ id: 'TaskReplacement' })

export const TaskChange = z
  .strictObject({ ...writable, title: Title.optional(), ...readOnly })
  .refine((change) => Object.keys(writable).some((name) => name in change), {
    error: `Give at least one of ${Object.keys(writable).join(', ')}.`,
    when: isObject,
  })
  .meta({ id: 'TaskChange', ...hasOneOf(...Object.keys(writable).map((name) => [name])) })

const UserReference = <const Words extends string[]>(words: Words) =>
  z
    .string()
    .transform((value, context): number | Words[number] => {
      if (words.includes(value)) return value as Words[number]
      const id = /^\d{1,15}$/.test(value) ? Number(value) : 0
      if (id > 0) return id
      context.addIssue(`It must be a user's id or ${words.join(' or ')}.`)
      return z.NEVER
    })
    .meta({
      description: `Id of a user, or ${words.join(' or ')}`,
      type: undefined,
      anyOf: [
        { type: 'integer', minimum: 1, ...int64 },
        { type: 'string', enum: words },
      ],
    })

export const TaskListQuery = z.strictObject({
  status: z.enum(statuses).optional(),
  assigned_to: UserReference(['me', 'none']).optional(),
  created_by: UserReference(['me']).optional(),
  search: text({ maximum: 100 })
    .transform((value) => (wordsOf(value).length > 0 ? value : undefined))
    .optional()
    .describe(
      'Words that title and description together contain; case, accents and Unicode forms are ignored',
    ),
  created_after: DateParameter.optional().describe('Inclusive'),
  created_before: DateParameter.optional().describe('Exclusive'),
  updated_after: DateParameter.optional().describe('Inclusive'),
  updated_before: DateParameter.optional().describe('Exclusive'),
  ordering: z.enum(orderings).default('-created_at'),
  count: z
    .enum(['true', 'false'])
    .transform((value) => value === 'true')
    .default(false)
    .meta({
      description: 'Adds the exact number of all that match',
      type: 'boolean',
      enum: undefined,
      default: false,
    }),
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
