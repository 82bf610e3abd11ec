/** Many dead letters at once, by SQL: each of these is an expression in `n`. */
export interface Filling {
  readonly status: string
  readonly database: string
  readonly saga: string
  readonly resource: string
  readonly createdAt: string
  readonly dueAt: string
  readonly resolvedAt: string
}

export const fillLetters = (from: number, to: number, filling: Filling): string => `
  INSERT INTO dead_letter_queue (
    id, kind, status, database, operation, saga, saga_version, saga_id, step, call, resources, fence,
    error_type, error_message, created_at, due_at, resolved_at
  )
  SELECT
    gen_random_uuid(), 'compensation', ${filling.status}, ${filling.database}, 'rollback_delete', ${filling.saga}, 1,
    'filled ' || n, 'step', 0, ARRAY[${filling.resource}], n, 'Refused', 'no',
    ${filling.createdAt}, ${filling.dueAt}, ${filling.resolvedAt}
  FROM generate_series(${from}, ${to}) AS n`
