/** Events of the outbox. A feature declares the types that it emits; nothing here knows one of them. */
import { en } from 'zod/locales'
import * as z from 'zod/mini'

export const time = z.iso.datetime({ offset: true })

/** EventBridge's envelope. Unknown members are accepted, so that the API can add some before the notifier. */
const Envelope = z.object({
  /** The envelope's own version. */
  version: z.literal('0'),
  /** The idempotency key: the same on every delivery of the event. */
  id: z.uuid(),
  'detail-type': z.string(),
  source: z.literal('task-api'),
  account: z.string(),
  time,
  region: z.string(),
  /** The path of the subject. */
  resources: z.array(z.string()),
})

/** `detail` is the payload. Its `version` is the type's: 1 if there is none. */
export type OutboxEvent = z.infer<typeof Envelope> & { detail: unknown }

/** @throws Error that names, in one line, the first five wrong members */
function parse<Output>(schema: z.ZodMiniType<Output>, input: unknown): Output {
  const result = z.safeParse(schema, input, { error: en().localeError })
  if (result.success) return result.data
  const problems = result.error.issues.map((issue) => `${issue.path.join('.') || 'event'}: ${issue.message}`)
  const more = problems.length > 5 ? `; and ${problems.length - 5} more` : ''
  throw new Error(`Malformed event: ${problems.slice(0, 5).join('; ')}${more}`)
}

/** @throws Error in one line when `input` is no event of any type */
export const parseEvent = (input: unknown): OutboxEvent => ({
  ...parse(Envelope, input),
  detail: (input as { detail?: unknown }).detail,
})

export const versionOf = ({ detail }: OutboxEvent) => (detail as { version?: unknown } | null)?.version ?? 1

/** Declares a type. A change of `detail` that breaks readers needs a new version; a new member does not. */
export function declareEvent<Detail>(type: string, version: number, detail: z.ZodMiniType<Detail>) {
  const schema: z.ZodMiniType<{ detail: Detail }> = z.object({ detail })
  return {
    type,
    /** @throws Error in one line when the event has another version or its detail is malformed */
    parse(event: OutboxEvent): OutboxEvent & { detail: Detail } {
      const actual = versionOf(event)
      if (actual !== version) throw new Error(`Unknown version ${actual} of ${type}`)
      return { ...event, ...parse(schema, event) }
    },
  }
}
