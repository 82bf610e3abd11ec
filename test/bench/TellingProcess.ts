/** Tells a text of the length that it is given and exits at once; of length zero it exits without a word. */
import { tell } from "../../bench/scale/Process.ts"

const length = Number(process.argv[2])
if (length > 0) await tell("x".repeat(length))
process.exit(0)
