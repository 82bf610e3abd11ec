/** For the tests of those who write sagas. */
export * as Explorer from "./Explorer.ts"
