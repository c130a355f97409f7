/** Preloaded into a tested process. Its clock stands at the milliseconds in CLOCK_FILE, and runs without the file. */
import { readFileSync } from 'node:fs'

const RealDate = Date

function now() {
  try {
    return Number(readFileSync(process.env.CLOCK_FILE, 'utf8'))
  } catch {
    return RealDate.now()
  }
}

globalThis.Date = class StoppedDate extends RealDate {
  constructor(...parameters) {
    if (parameters.length > 0) super(...parameters)
    else super(now())
  }
  static now = now
}
