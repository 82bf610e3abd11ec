/** Running a saga again past its point of no return: what ended is not run again, what did not is finished. */
import { Effect, type Exit } from "effect"
import { LockError, LockLost } from "../../schema/LockError.ts"
import type { Lease } from "../../services/DistributedLock.ts"
import { runBody, whenLost } from "./Body.ts"
import type { Frame } from "./Frame.ts"
import type { SagaDefinition } from "./Request.ts"

/** `root.aborted` says why it could not be finished now; nothing is undone. */
export const resume = Effect.fnUntraced(function* (
  saga: SagaDefinition,
  payload: unknown,
  frame: Frame,
  lease: Lease
): Effect.fn.Return<Exit.Exit<unknown, unknown>> {
  const { root } = frame
  root.pivoted = true
  const context = yield* Effect.context<never>()
  const watched: Lease = {
    ...lease,
    onLost: (listener) =>
      whenLost(lease, context, () => {
        const lost = new LockLost({ resource: root.resources.join(", "), fence: root.fence })
        root.aborted = new LockError({ reason: lost })
        listener(root.aborted)
      })
  }
  const unlimited = { ...saga, timeout: undefined }
  return yield* runBody(unlimited, payload, frame, watched, context, Effect.interruptible, Effect.succeed)
})
