/** A task's members, filters and orderings: the only place that lists its columns. */
import * as z from 'zod'
import { DateParameter } from '../http/date-parameter.ts'
import { Id, int64, Timestamp } from '../http/schemas.ts'
import { text } from '../http/text.ts'
import { filter } from '../resource/list.ts'
import type { Resource } from '../resource/members.ts'
import type { Ordering } from '../resource/page.ts'
import { search } from './search.ts'
import { UserReference } from './user-reference.ts'

export const statuses = ['pending', 'completed'] as const
const Status = z.enum(statuses)
const Title = text({ minimum: 1, maximum: 255, trim: true })
const Description = text({ maximum: 10_000 }).nullable()
const Assignee = z.int("It must be a user's id or null.").meta(int64).nullable()

export const members = {
  id: { sql: 'bigint', shown: Id },
  title: { sql: 'text', shown: z.string(), written: Title },
  description: { sql: 'text', shown: z.string().nullable(), written: Description.optional() },
  status: { sql: 'text', shown: Status, written: Status.optional(), initial: 'pending' },
  assigned_to: {
    sql: 'bigint',
    shown: Id.nullable(),
    written: Assignee.optional().describe('Id of a user, or null'),
  },
  created_by: { sql: 'bigint', shown: Id },
  created_at: { sql: 'timestamptz', shown: Timestamp },
  updated_at: { sql: 'timestamptz', shown: Timestamp },
  completed_at: { sql: 'timestamptz', shown: Timestamp.nullable() },
} satisfies Resource

/** The caller's id is `$2`. */
const user = (who: number | 'me', add: (id: number) => string) => (who === 'me' ? '$2' : add(who))

export const filters = {
  // One word of a few: as a literal it lets Postgres keep the statement's plan.
  status: filter(Status, (status) => `t.status = '${status}'`),
  assigned_to: filter(UserReference(['me', 'none']), (who, add) =>
    who === 'none' ? 't.assigned_to is null' : `t.assigned_to = ${user(who, add)}`,
  ),
  created_by: filter(UserReference(['me']), (who, add) => `t.created_by = ${user(who, add)}`),
  search,
  created_after: filter(DateParameter.describe('Inclusive'), (time, add) => `t.created_at >= ${add(time)}`),
  created_before: filter(DateParameter.describe('Exclusive'), (time, add) => `t.created_at < ${add(time)}`),
  updated_after: filter(DateParameter.describe('Inclusive'), (time, add) => `t.updated_at >= ${add(time)}`),
  updated_before: filter(DateParameter.describe('Exclusive'), (time, add) => `t.updated_at < ${add(time)}`),
}

export const orderings = {
  created_at: { key: 't.created_at', type: 'timestamptz' },
  updated_at: { key: 't.updated_at', type: 'timestamptz' },
  // By code point, without case and accents.
  title: { key: 'left(fold_text(t.title), 650) collate "C"', type: 'text' },
} satisfies Record<string, Ordering>
