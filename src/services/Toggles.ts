/** For gradual rollout; all on by default. Fences are issued even with locking off. */
export interface Toggles {
  readonly locking?: boolean
  readonly idempotency?: boolean
  readonly breakers?: boolean
  readonly retries?: boolean
  readonly deadLetters?: boolean
}
