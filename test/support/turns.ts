/** Counts round trips: messages of a client after an answer. */
import { startRelay } from './relay.ts'

export async function startTurnCounter(serverPort: number) {
  let turns = 0
  const relay = await startRelay({ port: serverPort }, () => {
    let answered = true
    return {
      fromClient() {
        if (answered) turns++
        answered = false
      },
      fromServer() {
        answered = true
      },
    }
  })
  return { ...relay, turns: () => turns }
}
