// Loaded into a target by `npm run bench -- --profile`. Each SIGUSR2 begins a CPU profile, or ends it and
// writes it to the file PROFILE_FILE.
import { writeFileSync } from 'node:fs'
import { Session } from 'node:inspector/promises'
import { isMainThread } from 'node:worker_threads'

const session = new Session()
let isRunning = false

async function toggle() {
  if (isRunning) {
    const { profile } = await session.post('Profiler.stop')
    writeFileSync(process.env.PROFILE_FILE, JSON.stringify(profile))
  } else {
    session.connect()
    await session.post('Profiler.enable')
    await session.post('Profiler.setSamplingInterval', { interval: 200 })
    await session.post('Profiler.start')
  }
  isRunning = !isRunning
  if (!isRunning) session.disconnect()
}

if (isMainThread && process.env.PROFILE_FILE) process.on('SIGUSR2', toggle)
