/** First in, first out, for those who wait; one of them can also leave from the middle. */

export type WaitingLine<T> = {
  length(): number
  /** Returns a function that takes the value out again; it does nothing once the value has left. */
  push(value: T): () => void
  shift(): T | undefined
}

type Place<T> = { value: T; before: Place<T> | undefined; after: Place<T> | undefined; isTaken: boolean }

/**
 * A linked list, not a set: V8 chains the outgrown tables of a set whose values come and go, and all that they held survives
 * with them. A place that was left points at no other, so that an old one keeps no younger one alive.
 */
export function createWaitingLine<T>(): WaitingLine<T> {
  let first: Place<T> | undefined
  let last: Place<T> | undefined
  let length = 0

  function leave(place: Place<T>) {
    if (!place.isTaken) return
    const { before, after } = place
    if (before) before.after = after
    else first = after
    if (after) after.before = before
    else last = before
    place.before = undefined
    place.after = undefined
    place.isTaken = false
    length--
  }

  return {
    length: () => length,
    push(value) {
      const place: Place<T> = { value, before: last, after: undefined, isTaken: true }
      if (last) last.after = place
      else first = place
      last = place
      length++
      return () => leave(place)
    },
    shift() {
      const place = first
      if (place) leave(place)
      return place?.value
    },
  }
}
