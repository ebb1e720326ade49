/** The product's workflows, and an operation of kind `failover` that changes a service's record and does nothing else. */
import * as wf from '@temporalio/workflow';
import type { OperationResult } from '../../model/operations.ts';
import { Operation } from '../../workflows/operation.ts';

export * from '../../workflows/index.ts';

export async function drill({
  estate,
  service,
  ms,
  touch,
}: {
  estate: string;
  service: string;
  ms: number;
  /** Whether it changes what it has pre-empted. */
  touch: boolean;
}): Promise<OperationResult> {
  const op = new Operation('failover');
  return op.run(async () => {
    op.about(estate, service);
    await op.locks.take(service, 'drill');
    if (touch) await op.write(service, { kind: 'status', status: 'failing-over', waitingFor: '' });
    await wf.sleep(ms);
    return op.result('done');
  });
}
