/** What differs from one Azure region to another. */

/** https://learn.microsoft.com/azure/reliability/regions-list (2026-11-24). A region that is not listed here is taken to have zones. */
const withoutZones = new Set([
  'australiacentral',
  'australiacentral2',
  'australiasoutheast',
  'brazilsoutheast',
  'canadaeast',
  'francesouth',
  'germanynorth',
  'jioindiacentral',
  'jioindiawest',
  'koreasouth',
  'northcentralus',
  'norwaywest',
  'southafricawest',
  'southindia',
  'switzerlandwest',
  'uaecentral',
  'ukwest',
  'westcentralus',
  'westindia',
  'westus',
]);

/** Whether the region has availability zones; without them everything lies in one place. */
export const hasZones = (region: string): boolean => !withoutZones.has(region);
