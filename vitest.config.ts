import { defineConfig } from 'vitest/config'

// Real servers start and stop in here: the time-outs are generous, so that a slow machine fails no test.
const patient = { testTimeout: 300_000, hookTimeout: 300_000, teardownTimeout: 30_000 }

/** What takes minutes, or needs a Redis: `npm run test:more`. */
const more = process.env.TEST_MORE === '1'
const patientRuntime = [
  'connections',
  'database-{deadlines,outages,settings}',
  'entity-tags',
  'event-*',
  'failover',
  'lambda*',
  'metrics',
  'notifier-{channels,inspect}',
  'password-queue',
  'proxy-addresses',
  'search-text',
  'throttled-webhook',
  'unread-output',
  '*-command',
].map((name) => `test/runtime/${name}.test.ts`)

/**
 * Where a server of ours reads the bytes, and no proxy or platform before it. nginx answers some naughty strings in paths
 * itself; they pass on workerd, but take a minute there.
 */
const ownHttp = ['test/api/{malformed-http,http-connections,fuzz,naughty-strings}.test.ts']

/** JSON nested so deep that Prism, which checks it recursively, runs out of stack. */
const beyondPrism = process.env.TEST_PROXY === 'prism' ? ['test/api/json-corpus.test.ts'] : []

export default defineConfig({
  test: {
    // One more than the cores there are to be: many a test waits, for a window, a lease or a process.
    maxWorkers: 3,
    projects: [
      { test: { ...patient, name: 'unit', include: ['test/unit/**/*.test.ts'] } },
      {
        test: {
          ...patient,
          name: 'api',
          include: ['test/api/**/*.test.ts'],
          // A proxy answers malformed requests itself, and sees to connections.
          exclude: process.env.TEST_PROXY ? [...ownHttp, ...beyondPrism] : [],
          globalSetup: ['test/support/build.ts', 'test/support/targets.ts'],
        },
      },
      {
        test: {
          ...patient,
          name: 'api-workerd',
          include: ['test/api/**/*.test.ts'],
          // The edge reads HTTP before a Worker does, and here Miniflare, whose ways with odd requests are its own: it compresses
          // answers, makes a GET of an Upgrade, and resets connections whose body it has not read.
          exclude: ownHttp,
          globalSetup: ['test/support/build.ts', 'test/support/workerd-targets.ts'],
        },
      },
      {
        test: {
          ...patient,
          name: 'runtime',
          include: ['test/runtime/**/*.test.ts'],
          exclude: patientRuntime,
          globalSetup: ['test/support/build.ts'],
        },
      },
      ...(more
        ? [
            {
              test: {
                ...patient,
                name: 'api-lambda',
                // Where AWS Lambda could differ: how a request arrives, what an answer takes along, work beside it, addresses.
                include: [
                  'test/api/{first-steps,conventions,conditional-requests,task-input}.test.ts',
                  'test/api/{completion-events,client-addresses}.test.ts',
                ],
                globalSetup: ['test/support/build.ts', 'test/support/lambda-targets.ts'],
              },
            },
            {
              test: {
                ...patient,
                name: 'proxies',
                include: ['test/proxies/**/*.test.ts'],
                globalSetup: ['test/support/build.ts'],
              },
            },
            {
              test: {
                ...patient,
                name: 'redis',
                include: ['test/redis/**/*.test.ts'],
                globalSetup: ['test/support/build.ts'],
              },
            },
            {
              test: {
                ...patient,
                name: 'runtime-more',
                include: [...patientRuntime, 'test/runtime/dev-edge.test.ts'],
                globalSetup: ['test/support/build.ts'],
              },
            },
          ]
        : []),
      // Installs packages, and needs psql besides a Redis: .ci/run asks for it.
      ...(process.env.TEST_IMAGE
        ? [{ test: { ...patient, name: 'image', include: ['test/image/**/*.test.ts'] } }]
        : []),
    ],
  },
})
