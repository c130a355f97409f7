/** The queue of Events as the Invoke API uses it. */

export type AcceptedEvent = {
  requestId: string
  /** As the function sees it. */
  arn: string
  /** JSON as it was sent. */
  payload: string
}

export type EventQueue = {
  /** Resolves when the event is durable: only the loss of the database can lose it. */
  put(event: AcceptedEvent): Promise<void>
  /** Returns the number of waiting events, and the dead letters, as JSON. */
  inspect(): Promise<object>
  /** Puts a dead letter back, or with null all of them, and returns their number. */
  redrive(requestId: string | null): Promise<number>
  /** Deletes a dead letter, or with null all of them, and returns their number. */
  drop(requestId: string | null): Promise<number>
}
