import { expect, test } from 'vitest'
import { httpOrigin, isLoopback, localAddress } from '../../src/core/host.ts'

test.each(['127.0.0.1', '127.1', '127.255.0.3', '::1', '[::1]', 'localhost'])('%s is loopback', (host) => {
  expect(isLoopback(host)).toBe(true)
})

test.each(['0.0.0.0', '::', '10.0.0.1', '127.0.0.1.example.com', 'localhost.example.com', '::1:2', ''])(
  '%s is not loopback',
  (host) => {
    expect(isLoopback(host)).toBe(false)
  },
)

test('an IPv6 address has brackets in a URL', () => {
  expect(httpOrigin('tasks.example', 80)).toBe('http://tasks.example:80')
  expect(httpOrigin('::1', 3000)).toBe('http://[::1]:3000')
})

test('a server that listens on every address is reached by loopback', () => {
  expect(['0.0.0.0', '::', '10.0.0.1'].map(localAddress)).toEqual(['127.0.0.1', '::1', '10.0.0.1'])
})
