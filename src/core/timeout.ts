/** Time limits for work that cannot be cancelled: it goes on, and its late outcome is ignored. */

export class TimeoutError extends Error {
  override name = 'TimeoutError'
  readonly isExpected = true
}

/** @throws TimeoutError when `work` takes longer than `ms` */
export async function withTimeout<T>(ms: number, work: Promise<T>): Promise<T> {
  const done = await settleWithin(
    ms,
    work.then((value) => ({ value })),
  )
  if (!done) throw new TimeoutError(`no answer within ${ms} ms`)
  return done.value
}

/** Resolves with the result of `work`, or with undefined after `ms`. Rejects only if `work` rejects first. */
export async function settleWithin<T>(ms: number, work: Promise<T>): Promise<T | undefined> {
  let timer: ReturnType<typeof setTimeout> | undefined
  const limit = new Promise<undefined>((resolve) => {
    timer = setTimeout(resolve, ms, undefined)
  })
  try {
    return await Promise.race([work, limit])
  } finally {
    clearTimeout(timer)
  }
}
