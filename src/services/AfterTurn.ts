/** What is done in the same turn of the event loop, but behind what the caller still has to do. */
const settled = Promise.resolve()

/** As `queueMicrotask`, for which Node makes a resource of its own, and at a tenth of its price. `then` must not throw. */
export const afterTurn = (then: () => void): void => void settled.then(then)
