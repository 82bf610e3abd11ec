/** The rule of floors as filters of Qdrant. Fences are whole numbers below 2^53, which its 64 bit floats compare exactly. */
import type { Step } from "../../index.ts"
import type { QdrantFilter } from "../../services/Qdrant.ts"

type Writer = Step.SagaRun["Service"]

const is = (key: string, value: string | number): QdrantFilter => ({ key, match: { value } })

export const never = (uuid: string): QdrantFilter => ({ must_not: [{ has_id: [uuid] }] })

/** The floor is this saga's and this fence's. */
const raisedBy = ({ fence, sagaId }: Writer): QdrantFilter => ({
  must: [is("floor", fence), is("floor_saga", sagaId)]
})

/** The floor lets this writer in. */
const admits = (writer: Writer): QdrantFilter => ({
  should: [{ key: "floor", range: { lt: writer.fence } }, raisedBy(writer)]
})

/** It may be raised by this writer. */
export const mayRaise = (uuid: string, writer: Writer): QdrantFilter => ({
  must: [{ has_id: [uuid] }, admits(writer)]
})

/** It may be written by this call, and is not already. */
export const mayWrite = (writer: Writer): QdrantFilter => ({
  must: [admits(writer)],
  must_not: [{ must: [is("stamp_saga", writer.sagaId), is("stamp_call", writer.call)] }]
})

/** The floor has been raised by this writer, and what it covers was written by the same saga. */
export const mayRestore = (writer: Writer): QdrantFilter => ({
  must: [raisedBy(writer), is("stamp_saga", writer.sagaId)]
})
