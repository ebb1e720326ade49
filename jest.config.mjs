/**
 * Tests run in Node.js itself, as the workers do, and all files in one process: modules are loaded once. Jest finds the
 * files, counts and reports.
 */
export default {
  runner: 'jest-light-runner',
  setupFilesAfterEnv: ['<rootDir>/test/local/runner.ts'],
  maxWorkers: 1,
  testMatch: ['<rootDir>/test/**/*.test.ts'],
  // Copies of the project that tests make, and the state of local clouds, are none of Jest's business.
  modulePathIgnorePatterns: ['<rootDir>/\\.local/'],
  watchPathIgnorePatterns: ['<rootDir>/\\.local/'],
  cacheDirectory: '<rootDir>/.local/jest',
  moduleFileExtensions: ['ts', 'mjs', 'js', 'cjs', 'json', 'node'],
};
