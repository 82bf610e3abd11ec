/** The real servers of this test run; null where one cannot be had (never in CI). */
import { inject } from "vitest"
import type { ServerUrls } from "./globalSetup.ts"

export const servers = (): ServerUrls => inject("servers")
