/** The workflow types of the contract, and nothing else. */
export { checkDevices } from './check-devices.ts';
export { checkEstate } from './check-estate.ts';
export { cloudEstate } from './cloud-estate.ts';
export { cloudService } from './cloud-service.ts';
export { copyFleet } from './copy-fleet.ts';
export { deployEstate } from './deploy-estate.ts';
export { deployService } from './deploy-service.ts';
export { migrateService } from './migrate-service.ts';
export { planEstate } from './plan-estate.ts';
export { rebuildEstate } from './rebuild-estate.ts';
export { recoverService } from './recover-service.ts';
export { rehearseMigration } from './rehearse-migration.ts';
export { removeService } from './remove-service.ts';
export { replicateService } from './replicate-service.ts';
export { steerService } from './steer-service.ts';
export { verifyAudit } from './verify-audit.ts';
export { verifyService } from './verify-service.ts';
