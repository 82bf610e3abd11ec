/** What the driver of the kill test and its worker processes tell each other. */

export interface Request {
  readonly kind: "request"
  readonly id: number
  readonly uuid: string
  /** `null`: remove the document. */
  readonly title: string | null
}

/** The worker kills itself at that many events between a first write and a commit. */
export interface Arm {
  readonly kind: "arm"
  readonly events: number
}

export type ToWorker = Request | Arm

export type FromWorker =
  | { readonly kind: "ready" }
  | { readonly kind: "done"; readonly id: number; readonly failure: string | null; readonly unknown: boolean }

export interface Servers {
  readonly postgres: string
  readonly redis: string
  readonly neo4j: string
  readonly qdrant: string
}
