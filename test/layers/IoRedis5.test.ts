/** What goes over the oldest ioredis that is served elsewhere goes over the newest of its major here. */
import { assert, it } from "@effect/vitest"
import * as Five from "ioredis-5"
import { vi } from "vitest"
import "./Clients.test.ts"
import "./Gathering.test.ts"
import "./IoRedisFaults.test.ts"
import "./SagaGuardRedis.test.ts"
import "./SagaGuardRedisFaults.test.ts"

vi.mock("ioredis", () => import("ioredis-5"))

it("is the newest ioredis 5 that these tests ran over", async () => {
  const { Redis }: { readonly Redis: unknown } = await import("ioredis")
  assert.strictEqual(Redis, Five.Redis)
})
