/** POST /devices: up to 100 changes, each with its own outcome. */
import { z } from 'zod';
import { type Failure, failures, HubError } from './answers.ts';
import { BulkRequest, type DeviceRecord, deviceId, makeRecord } from './device.ts';
import type { IotHub } from './entities.ts';
import type { Registry } from './registry.ts';
import { changeTwin, merge } from './twin.ts';

interface BulkError {
  deviceId: string;
  errorCode: number;
  errorStatus: string;
}

/** What each mode asks: may it create, may it change, does it compare the etag. */
const modes: Record<string, { create?: true; update?: true; twin?: true; drop?: true; match?: true }> = {
  create: { create: true },
  createorupdate: { create: true, update: true },
  createorupdateifmatchetag: { create: true, update: true, match: true },
  update: { update: true },
  updateifmatchetag: { update: true, match: true },
  updatetwin: { twin: true },
  updatetwinifmatchetag: { twin: true, match: true },
  delete: { drop: true },
  deleteifmatchetag: { drop: true, match: true },
};

export function applyBulk(request: { hub: IotHub; registry: Registry; body: unknown }): {
  status: number;
  body: unknown;
} {
  const { hub, registry } = request;
  const parsed = z.array(BulkRequest).min(1).max(100).safeParse(request.body);
  if (!parsed.success) {
    const issue = parsed.error.issues[0];
    throw new HubError(failures.argument, `BadRequest: ${issue?.path.join('.')}: ${issue?.message}`);
  }
  const changes = new Map<string, DeviceRecord | undefined>();
  const errors: BulkError[] = [];
  let size = registry.size;
  for (const one of parsed.data) {
    const before = changes.has(one.id) ? changes.get(one.id) : registry.get(one.id);
    const failed = judge(one, before, size >= hub.maxDevices);
    if (failed) {
      errors.push({ deviceId: one.id, errorCode: failed.number, errorStatus: failed.code });
      continue;
    }
    const after = apply(one, before);
    size += Number(after !== undefined) - Number(before !== undefined);
    changes.set(one.id, after);
  }
  registry.write([...changes].map(([deviceId, after]) => ({ deviceId, after })));
  return { status: errors.length > 0 ? 400 : 200, body: { isSuccessful: errors.length === 0, errors, warnings: [] } };
}

function judge(one: BulkRequest, before: DeviceRecord | undefined, full: boolean): Failure | undefined {
  const mode = modes[one.importMode];
  if (!mode || !deviceId.safeParse(one.id).success) return failures.argument;
  if (!before) return mode.create ? (full ? failures.quota : undefined) : failures.missing;
  if (mode.create && !mode.update) return failures.exists;
  const etag = (mode.twin ? one.twinETag : (one.etag ?? one.eTag))?.replace(/"/g, '');
  const current = mode.twin ? before.twin.etag : before.etag;
  return mode.match && etag !== '*' && etag !== current ? failures.precondition : undefined;
}

function apply(one: BulkRequest, before: DeviceRecord | undefined): DeviceRecord | undefined {
  const mode = modes[one.importMode];
  if (mode?.drop) return undefined;
  const made = mode?.twin && before ? before : makeRecord(one.id, one, before);
  if (!one.tags && !one.properties?.desired && !one.properties?.reported) return made;
  const changed = changeTwin(made, { tags: one.tags, properties: { desired: one.properties?.desired } }, false);
  const reported = one.properties?.reported;
  if (!reported) return changed;
  const section = { ...changed.twin.reported, values: merge(changed.twin.reported.values, reported) };
  return { ...changed, twin: { ...changed.twin, reported: section } };
}
