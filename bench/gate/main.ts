/**
 * `npm run gate`: fails when a saga allocates more than 5 percent above the committed figure. `-- --update` commits what
 * it allocates now to baseline.json; `-- --waste` shows that the gate can fail.
 */
import { commit, committed, judge, measure, WASTE } from "./Figures.ts"

const measured = await measure(process.argv.includes(WASTE) ? [WASTE] : [])
if (process.argv.includes("--update")) {
  commit(measured)
  console.log(`committed: ${measured.memory} bytes a saga in memory, ${measured.journal} with a journal`)
} else {
  for (const { fails, sentence } of judge(measured, committed())) {
    console.log(sentence)
    if (fails) process.exitCode = 1
  }
}
