// Starts a peer: `node start.mjs fastify`. With PROCESSES above 1 that many processes share its port.
import cluster from 'node:cluster'

const processes = Number(process.env.PROCESSES ?? 1)
process.on('SIGTERM', () => process.exit(0))
if (processes > 1 && cluster.isPrimary) {
  for (let i = 0; i < processes; i++) cluster.fork()
} else {
  await import(`./${process.argv[2]}.mjs`)
}
