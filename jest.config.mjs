/**
 * Tests run the sources as they are. Packages that ship ES modules only are loaded as such where Node allows it to Jest
 * (`--experimental-vm-modules`, as `npm test` does), else they are compiled on the way in.
 */
const esm = `${process.execArgv} ${process.env.NODE_OPTIONS}`.includes('--experimental-vm-modules');
const esmPackages = ['@azure', '@typespec', '@google-cloud', '@noble', 'google-auth-library', 'log-update', 'jose'];

export default {
  testEnvironment: 'node',
  testTimeout: 30_000,
  testMatch: ['<rootDir>/test/**/*.test.ts'],
  // Copies of the project that tests make, and the state of local clouds, are none of Jest's business.
  modulePathIgnorePatterns: ['<rootDir>/\\.local/'],
  watchPathIgnorePatterns: ['<rootDir>/\\.local/'],
  cacheDirectory: '<rootDir>/.local/jest',
  moduleFileExtensions: ['ts', 'mjs', 'js', 'cjs', 'json', 'node'],
  transformIgnorePatterns: [esm ? '/node_modules/' : `/node_modules/(?!(${esmPackages.join('|')})/)`],
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
