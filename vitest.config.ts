import { fileURLToPath } from "node:url"
import { defineConfig } from "vitest/config"

const source = (file: string) => fileURLToPath(new URL(`./src/${file}`, import.meta.url))

export default defineConfig({
  resolve: {
    alias: [
      { find: /^effect-saga$/, replacement: source("index.ts") },
      { find: /^effect-saga\/ingest$/, replacement: source("ingest/index.ts") },
      { find: /^effect-saga\/testing$/, replacement: source("testing/index.ts") },
      { find: /^effect-saga\/pglite$/, replacement: source("layers/sql/PgliteClient.ts") }
    ]
  },
  test: {
    globalSetup: ["test/servers/globalSetup.ts"],
    include: ["test/**/*.test.ts", "examples/**/*.test.ts"],
    testTimeout: 30_000,
    hookTimeout: 120_000,
    coverage: { include: ["src/**"], reporter: ["text-summary", "json-summary"] }
  }
})
