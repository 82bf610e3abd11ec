/** What goes over ioredis 5 elsewhere goes over ioredis 6 here: a program may have either. */
import { assert, it } from "@effect/vitest"
import * as Six from "ioredis-6"
import { vi } from "vitest"
import "./Clients.test.ts"
import "./Gathering.test.ts"
import "./IoRedisFaults.test.ts"
import "./SagaGuardRedis.test.ts"
import "./SagaGuardRedisFaults.test.ts"

vi.mock("ioredis", () => import("ioredis-6"))

it("is ioredis 6 that these tests ran over", async () => {
  const { Redis }: { readonly Redis: unknown } = await import("ioredis")
  assert.strictEqual(Redis, Six.Redis)
})
