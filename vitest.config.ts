import { defineConfig } from 'vitest/config'

// Tests start and stop real servers: the time-outs are generous, so that no test fails on a slow machine.
const patient = { testTimeout: 300_000, hookTimeout: 300_000, teardownTimeout: 30_000 }

/** `npm run test:more` runs what takes minutes, needs a Redis or repeats the suite on another runtime. */
const more = process.env.TEST_MORE === '1'
const slowRuntime = [
  'connections',
  'database-{deadlines,outages,settings}',
  'dev-edge',
  'embedded-postgres',
  'entity-tags',
  'event-*',
  'failover',
  'kill',
  'lambda*',
  'metrics',
  'notifier-{channels,inspect}',
  'password-queue',
  'provided-credentials',
  'proxy-addresses',
  'rolling-upgrade',
  'search-text',
  'throttled-webhook',
  'unread-output',
  '*-command',
].map((name) => `test/runtime/${name}.test.ts`)

/** Tests of our own HTTP server. nginx also answers some naughty strings in paths itself. */
const ownHttp = ['test/api/{malformed-http,http-connections,fuzz,naughty-strings}.test.ts']

/** Has JSON that is nested too deep for Prism, which checks it recursively. */
const beyondPrism = process.env.TEST_PROXY === 'prism' ? ['test/api/json-corpus.test.ts'] : []

/** The files that could differ on workerd: time, randomness, keys, the store, work after the answer. */
const differsOnWorkerd = [
  'test/api/{access-tokens,accounts,client-addresses,completion-events,first-steps,login-limits}.test.ts',
  'test/api/{passing-time,rate-limit-answers,rate-limits,registration}.test.ts',
  'test/api/{session-pages,sessions,tasks,user-search}.test.ts',
]

export default defineConfig({
  test: {
    // One more than the cores of a small machine: many tests wait for a lease or a process.
    maxWorkers: 3,
    projects: [
      { test: { ...patient, name: 'unit', include: ['test/unit/**/*.test.ts'] } },
      {
        test: {
          ...patient,
          name: 'api',
          include: ['test/api/**/*.test.ts'],
          // A proxy answers malformed requests itself and has connections of its own.
          exclude: process.env.TEST_PROXY ? [...ownHttp, ...beyondPrism] : [],
          globalSetup: ['test/support/build.ts', 'test/support/targets.ts'],
        },
      },
      {
        test: {
          ...patient,
          name: 'api-workerd',
          include: more ? ['test/api/**/*.test.ts'] : differsOnWorkerd,
          // Miniflare parses HTTP before a Worker does: it compresses answers, turns an Upgrade into a GET,
          // and resets connections whose body it has not read.
          exclude: ownHttp,
          globalSetup: ['test/support/build.ts', 'test/support/workerd-targets.ts'],
        },
      },
      {
        test: {
          ...patient,
          name: 'runtime',
          include: ['test/runtime/**/*.test.ts'],
          exclude: slowRuntime,
          globalSetup: ['test/support/build.ts'],
        },
      },
      ...(more
        ? [
            {
              test: {
                ...patient,
                name: 'api-lambda',
                // The files that could differ on AWS Lambda: requests, answers, addresses, work after the answer.
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
                include: slowRuntime,
                globalSetup: ['test/support/build.ts'],
              },
            },
          ]
        : []),
      // Installs packages and needs psql and a Redis: only .ci/run asks for it.
      ...(process.env.TEST_IMAGE
        ? [{ test: { ...patient, name: 'image', include: ['test/image/**/*.test.ts'] } }]
        : []),
    ],
  },
})
