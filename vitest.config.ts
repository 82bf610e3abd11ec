import { defineConfig } from "vitest/config"

export default defineConfig({
  resolve: {
    alias: [
      { find: /^effect-saga$/, replacement: new URL("./src/index.ts", import.meta.url).pathname },
      { find: /^effect-saga\/(.*)$/, replacement: `${new URL("./src", import.meta.url).pathname}/$1.ts` }
    ]
  },
  test: {
    globalSetup: ["test/servers/globalSetup.ts"],
    include: ["test/**/*.test.ts", "examples/**/*.test.ts"],
    typecheck: { enabled: false },
    testTimeout: 30_000,
    hookTimeout: 120_000
  }
})
