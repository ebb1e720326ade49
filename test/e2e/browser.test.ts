/** A person at Temporal's UI, with nothing but a browser, deploys an estate: `deployEstate` with `{}`. */
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Browser, chromium, type Page } from 'playwright-core';
import { taskQueue, workflowIds } from '../../model/operations.ts';
import type { Progress } from '../../model/progress.ts';
import type { ServiceRecord } from '../../model/record.ts';
import { localRun } from '../local/stack.ts';
import { type OwnWorker, ownWorker, quietTemporal, writeEstate } from './own-worker.ts';

/** `npm test` finds it; set CHROMIUM to another path otherwise. */
const executablePath = process.env.CHROMIUM;
if (!executablePath)
  process.stderr.write(
    'SKIPPED: the browser test. No Chromium here: install Debian’s `chromium`, or set CHROMIUM to its path.\n',
  );

/** Nothing that a browser does on its own account may leave this machine. */
const flags = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1',
];
const visible = 'visible=true';

(executablePath ? describe : describe.skip)('the Temporal UI in a browser', () => {
  const namespace = `browser-${Date.now()}`;
  let worker: OwnWorker;
  let browser: Browser;
  let page: Page;
  const strangers: string[] = [];

  beforeAll(async () => {
    quietTemporal();
    const estate = writeEstate(join(mkdtempSync(join(tmpdir(), 'estate-')), 'estate.yaml'), 'browser', {
      firmware: { type: 'storage', redundancy: 2, protect: false },
      movable: { type: 'storage', preferred_providers: ['aws', 'gcp'] },
    });
    worker = await ownWorker({ namespace, estateFile: estate, moves: (real) => real });
    browser = await chromium.launch({ executablePath: executablePath ?? '', args: flags });
    page = await browser.newPage({ viewport: { width: 1400, height: 1000 } });
    page.on('request', (request) => {
      const { hostname, protocol } = new URL(request.url());
      if (protocol.startsWith('http') && hostname !== '127.0.0.1') strangers.push(request.url());
    });
  }, 60_000);
  afterAll(async () => {
    await browser?.close();
    await worker?.close();
  }, 30_000);

  it('starts deployEstate with {}, shows its progress and its end', async () => {
    const workflows = `${localRun().temporal.ui}/namespaces/${namespace}/workflows`;
    const workflowId = 'started-by-hand';
    await page.goto(
      `${workflows}/start-workflow?taskQueue=multi-cloud&workflowType=deployEstate&workflowId=${workflowId}`,
    );
    await page.getByText('Task Queue is Active').waitFor();
    const input = page.getByRole('textbox', { name: 'Data' });
    await input.click();
    await page.keyboard.insertText('{}');
    await input.blur();
    await page.waitForTimeout(300); // the form reformats the input and grows; a click before that is lost
    await page.getByTestId('start-workflow-button').click();
    await page.getByRole('link', { name: 'Workflow started successfully' }).waitFor(); // it slides in and goes; not to be clicked in time
    await page.goto(`${workflows}/${workflowId}`);

    const status = page.getByTestId('execution-status').locator(visible).first();
    await status.waitFor();
    // The details are Markdown in a frame of their own, read once when their tab is opened: looked at until they name the service.
    let details = '';
    for (let look = 0; look < 10 && !details.includes('firmware'); look++) {
      if (look > 0) await page.reload();
      await status.waitFor();
      await page.locator('#user-metadata-tab').locator(visible).first().click();
      await page.waitForTimeout(1500);
      const frames = page.frames().filter((frame) => frame !== page.mainFrame());
      details = (
        await Promise.all(
          frames.map((frame) =>
            frame
              .locator('body')
              .textContent()
              .catch(() => ''),
          ),
        )
      ).join();
    }
    expect(details).toMatch(/%.*plan.*firmware/s);
    await page
      .getByTestId('execution-status')
      .filter({ hasText: /completed/i })
      .locator(visible)
      .first()
      .waitFor({ timeout: 60_000 });

    const result = await worker.client.workflow.getHandle(workflowId).result();
    expect(result).toMatchObject({ outcome: 'done', estate: 'browser', orphans: [] });
    expect(strangers).toEqual([]);
  }, 120_000);

  it('approves a cutover with the signal approveCutover and what the details show', async () => {
    const { workflow } = worker.client;
    const start = (type: string, input: object) =>
      workflow.start(type, { taskQueue, workflowId: `${type}/by-hand`, args: [input] });
    // The run before has deployed it, too.
    const record = await workflow
      .getHandle(workflowIds.cloudService('browser', 'movable'))
      .query<ServiceRecord>('record');
    const [from = ''] = record.placements.map(({ provider }) => provider);
    const to = from === 'aws' ? 'gcp' : 'aws';
    const migration = await start('migrateService', {
      service: 'movable',
      from,
      to,
      soak: '1s',
      source_retention: '1s',
    });
    const asked = async (question: string) => {
      for (;;) {
        const { waitingFor } = await migration.query<Progress>('progress');
        const one = waitingFor.find((each) => each.question === question);
        if (one) return one;
        await page.waitForTimeout(200);
      }
    };
    const { plan } = await asked('cutover');
    const runs = `${localRun().temporal.ui}/namespaces/${namespace}/workflows`;
    const send = async (payload: object): Promise<void> => {
      await page.goto(`${runs}/${encodeURIComponent(migration.workflowId)}`);
      await page.getByRole('button', { name: 'More Actions' }).locator(visible).click();
      await page.getByTestId('signal-button').locator(visible).click();
      const dialog = page.getByTestId('signal-confirmation-modal').locator(visible);
      await dialog.getByTestId('signal-select-button').click();
      await page
        .getByRole('option', { name: /approveCutover/ })
        .locator(visible)
        .first()
        .click();
      const data = dialog.getByRole('textbox', { name: 'Data' });
      await data.click();
      await page.keyboard.insertText(JSON.stringify(payload, null, 2));
      await data.blur();
      await page.waitForTimeout(300); // as above
      await dialog.getByRole('button', { name: 'Submit' }).click();
      await dialog.waitFor({ state: 'hidden' });
    };
    await send({ by: 'ann', plan: '0123456789ab' });
    while ((await asked('cutover')).given.length === 0) await page.waitForTimeout(200);
    expect((await asked('cutover')).given).toMatchObject([{ by: 'ann', obeyed: false }]);
    await send({ by: 'ann', plan });
    expect(await migration.result()).toMatchObject({ outcome: 'done', placements: [{ provider: to }] });
    expect(strangers).toEqual([]);
  }, 120_000);
});
