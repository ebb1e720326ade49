/** The live tree of an operation: services, clouds, resources, each with its state and how long it took. Pure: text from values. */
import pc from 'picocolors';
import type { Progress, Step, StepStatus } from '../../model/progress.ts';
import { printable } from '../../model/text.ts';

const spinner = ['⠋', '⠙', '⠹', '⠸', '⠼', '⠴', '⠦', '⠧', '⠇', '⠏'];
const symbols: Record<StepStatus, string> = {
  pending: pc.dim('·'),
  running: pc.cyan('⠿'),
  done: pc.green('✔'),
  failed: pc.red('✘'),
  undoing: pc.yellow('↩'),
  undone: pc.yellow('⏪'),
  skipped: pc.dim('–'),
};

interface Node {
  name: string;
  step?: Step;
  children: Map<string, Node>;
}

/** Step names are paths: `compute/aws/network`. */
function treeOf(steps: readonly Step[]): Node {
  const root: Node = { name: '', children: new Map() };
  for (const step of steps) {
    let at = root;
    for (const name of step.name.split('/')) {
      const next = at.children.get(name) ?? { name, children: new Map() };
      at.children.set(name, next);
      at = next;
    }
    at.step = step;
  }
  return root;
}

function statusOf(node: Node): StepStatus {
  const below = [...node.children.values()].map(statusOf);
  const own = node.step?.status;
  if (below.length === 0) return own ?? 'pending';
  for (const status of ['failed', 'undoing', 'running'] as const)
    if (below.includes(status) || own === status) return status;
  if (below.every((status) => status === 'done' || status === 'skipped'))
    return own === 'pending' || own === undefined ? 'done' : own;
  if (below.every((status) => status === 'undone')) return 'undone';
  return below.some((status) => status === 'done') ? 'running' : 'pending';
}

function seconds({ startedAt, finishedAt }: Partial<Step>, now: number): string {
  if (!startedAt) return '';
  const ms = (finishedAt ? Date.parse(finishedAt) : now) - Date.parse(startedAt);
  return ms < 100 ? '' : ` ${(ms / 1000).toFixed(1)} s`;
}

function lines(node: Node, depth: number, now: number, width: number): string[] {
  const status = statusOf(node);
  const frame = spinner[Math.floor(now / 80) % spinner.length] ?? '';
  const symbol = status === 'running' ? pc.cyan(frame) : symbols[status];
  const head = `${'  '.repeat(depth)}${symbol} ${printable(node.name)}${pc.dim(seconds(node.step ?? {}, now))}`;
  const room = Math.max(20, width - 2 * depth - node.name.length - 14);
  const text = node.step?.detail ? printable(node.step.detail) : '';
  const detail =
    text && (status === 'failed' ? pc.red(text) : pc.dim(text.length > room ? `${text.slice(0, room - 1)}…` : text));
  return [
    detail ? `${head}  ${detail}` : head,
    ...[...node.children.values()].flatMap((child) => lines(child, depth + 1, now, width)),
  ];
}

/** The whole picture of a run and of the runs it has started. */
export function render(progress: Progress, children: readonly Progress[], now: number, width = 100): string {
  const own = progress.steps.filter(
    ({ name }) => !children.some(({ steps }) => steps.some((step) => step.name.startsWith(`${name}/`))),
  );
  const steps = [...own, ...children.flatMap((child) => child.steps)];
  const blocked = [progress, ...children].flatMap((one) => one.blocked ?? []);
  return [
    `${pc.bold(printable(progress.phase))} ${pc.dim(`${percentOf(steps)} %`)}`,
    ...[...treeOf(steps).children.values()].flatMap((node) => lines(node, 1, now, width)),
    ...blocked.map((why) => pc.yellow(`Blocked: ${printable(why)}`)),
    ...progress.waitingFor.map(({ text }) => pc.yellow(`Waits for a person: ${printable(text)}`)),
  ].join('\n');
}

function percentOf(steps: readonly Step[]): number {
  const finished = steps.filter(({ status }) => status !== 'pending' && status !== 'running').length;
  return steps.length === 0 ? 0 : Math.floor((100 * finished) / steps.length);
}

/** For logs: one line for each step that changed since the last look. */
export function changedLines(steps: readonly Step[], seen: Map<string, string>): string[] {
  return steps.flatMap((step) => {
    if (step.status === 'pending' || seen.get(step.name) === step.status) return [];
    seen.set(step.name, step.status);
    return [`${step.status.padEnd(7)} ${printable(step.name)}${step.detail ? `  ${printable(step.detail)}` : ''}`];
  });
}
