/** The workflow bundle, made once for the same sources: a worker that starts again does not bundle again. */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { bundleWorkflowCode, type WorkflowBundleOption } from '@temporalio/worker';

/** All that a bundle is made of: our sources, and the packages, which the lockfile stands for. */
const ingredients = ['workflows', 'model', 'temporal'];

/** `failureConverterPath`: see the SDK's data converter; the bundle and the worker must have the same. */
export async function workflowBundle(
  root: string,
  cache: string,
  failureConverterPath?: string,
): Promise<WorkflowBundleOption> {
  const hash = createHash('sha256').update(readFileSync(join(root, 'package-lock.json')));
  for (const folder of ingredients)
    for (const file of readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' }).sort())
      if (file.endsWith('.ts')) hash.update(file).update(readFileSync(join(root, folder, file)));
  hash.update(failureConverterPath ?? '');
  const codePath = join(cache, `workflows-${hash.digest('hex').slice(0, 16)}.js`);
  if (!existsSync(codePath)) {
    const { code } = await bundleWorkflowCode({
      workflowsPath: join(root, 'workflows/index.ts'),
      ...(failureConverterPath !== undefined && { failureConverterPath }),
    });
    mkdirSync(cache, { recursive: true });
    writeFileSync(`${codePath}.${process.pid}`, code);
    renameSync(`${codePath}.${process.pid}`, codePath);
  }
  return { codePath };
}
