/** Takes the place of @upstash/core-analytics in the Worker's bundle: the limiter's analytics are off. */
export class Analytics {}
