/** Tests run the sources as they are; SDK packages that ship ES modules only are compiled on the way in. */
export default {
  testEnvironment: 'node',
  testTimeout: 30_000,
  testMatch: ['<rootDir>/test/**/*.test.ts'],
  extensionsToTreatAsEsm: [],
  moduleFileExtensions: ['ts', 'js', 'mjs', 'cjs', 'json', 'node'],
  transformIgnorePatterns: ['/node_modules/(?!(@azure|@noble|@typespec|google-auth-library|gaxios|google-gax|teeny-request|node-fetch|fetch-blob|formdata-polyfill|data-uri-to-buffer|log-update|jose|aedes)/)'],
  transform: {
    '\\.[cm]?[jt]s$': [
      '@swc/jest',
      {
        jsc: { target: 'es2023', parser: { syntax: 'typescript' } },
        module: { type: 'commonjs' },
        sourceMaps: 'inline',
      },
    ],
  },
};
