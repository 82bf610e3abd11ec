/** Calling what makes an effect and may be somebody else's. */
import { Effect } from "effect"

/** As `Effect.suspend` has it, at once: what throws is a defect. */
export const made = <A>(make: () => A): A | Effect.Effect<never> => {
  try {
    return make()
  } catch (defect) {
    return Effect.die(defect)
  }
}
