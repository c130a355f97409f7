/** What the Invoke API asks of a queue of Events, wherever there is one. */
import { ServiceError } from './service-error.ts'

export type AcceptedEvent = {
  requestId: string
  /** As the function sees it. */
  arn: string
  /** JSON, as it was sent. */
  payload: string
}

/** What the API asks of a queue. */
export type EventKeeper = {
  /** Resolves when the event is kept so that nothing but the loss of the database can lose it. */
  put(event: AcceptedEvent): Promise<void>
  /** What waits and what was given up, for whoever looks into the notifier: JSON. */
  look(): Promise<object>
  /** Puts back the event that was given up, or with null all of them. Resolves with how many there were. */
  redrive(requestId: string | null): Promise<number>
  /** Forgets the event that was given up, or with null all of them. Resolves with how many there were. */
  drop(requestId: string | null): Promise<number>
}

/** @throws ServiceError 400 when there is none */
export function checkQueue(queue: EventKeeper | undefined): EventKeeper {
  if (queue) return queue
  throw new ServiceError(
    400,
    'InvalidParameterValueException',
    'InvocationType Event needs a durable queue, which this notifier does not have: use RequestResponse, or set NOTIFIER_DATABASE_URL where it runs as a process',
  )
}
