/** Hosts in settings and URLs: a name, an IPv4 address, or an IPv6 address with or without brackets. */

/** `http://127.0.0.1:3000` or `http://[::1]:3000`. */
export const httpOrigin = (host: string, port: number) =>
  `http://${host.includes(':') ? `[${host}]` : host}:${port}`

/** Whether the host can be reached from this machine only. */
export const isLoopback = (host: string) => /^(127\.[\d.]+|\[?::1\]?|localhost)$/.test(host)

/** The address by which this machine reaches its own server. For one on all addresses that is loopback. */
export const localAddress = (host: string) =>
  host === '0.0.0.0' ? '127.0.0.1' : host === '::' ? '::1' : host
