/** The live tree: service > placement > resource, one line each, cut to the window. Pure. */
import pc from 'picocolors';
import type { Step, StepStatus } from '../../model/progress.ts';
import { printable } from '../../model/text.ts';
import type { View } from './view.ts';

interface Node {
  name: string;
  step: Step | undefined;
  children: Node[];
}

export interface Window {
  columns: number;
  rows: number;
  /** Milliseconds since the epoch. */
  now: number;
}

const spinner = ['⠋', '⠙', '⠹', '⠸', '⠼', '⠴', '⠦', '⠧', '⠇', '⠏'];
const symbols: Record<Exclude<StepStatus, 'running' | 'undoing'>, string> = {
  pending: pc.dim('·'),
  done: pc.green('✓'),
  failed: pc.red('✗'),
  undone: pc.magenta('↶'),
  skipped: pc.yellow('-'),
};

function grow(steps: readonly Step[]): Node[] {
  const roots: Node[] = [];
  for (const step of steps) {
    let level = roots;
    let node: Node | undefined;
    for (const name of step.name.split('/')) {
      node = level.find((one) => one.name === name);
      if (!node) {
        node = { name, step: undefined, children: [] };
        level.push(node);
      }
      level = node.children;
    }
    if (node) node.step = step;
  }
  return roots;
}

const worst: readonly StepStatus[] = ['failed', 'undoing', 'running', 'pending', 'undone', 'skipped', 'done'];

/** Its own status; where it has none, that of its parts: pending parts beside finished ones are a thing that runs. */
function statusOf({ step, children }: Node): StepStatus {
  if (step) return step.status;
  const statuses = children.map(statusOf);
  if (statuses.includes('pending') && statuses.some((one) => one !== 'pending')) {
    const active = statuses.filter((one) => one !== 'pending' && one !== 'done');
    return worst.find((one) => active.some((other) => other === one)) ?? 'running';
  }
  return worst.find((one) => statuses.includes(one)) ?? 'pending';
}

function times({ step, children }: Node): { from?: number | undefined; to?: number | undefined } {
  const parts = children.map(times);
  if (step?.startedAt)
    return { from: Date.parse(step.startedAt), to: step.finishedAt ? Date.parse(step.finishedAt) : undefined };
  const starts = parts.flatMap(({ from }) => from ?? []);
  const ends = parts.flatMap(({ to }) => to ?? []);
  return {
    from: starts.length > 0 ? Math.min(...starts) : undefined,
    to: ends.length === parts.length && ends.length > 0 ? Math.max(...ends) : undefined,
  };
}

const cut = (text: string, width: number): string =>
  text.length <= width ? text : width < 1 ? '' : `${text.slice(0, width - 1)}…`;

const quiet = (node: Node): boolean => ['done', 'skipped', 'undone'].includes(statusOf(node));

/** Every line of the node, as deep as `open` allows. */
function draw(node: Node, depth: number, open: (node: Node, depth: number) => boolean, window: Window): string[] {
  const status = statusOf(node);
  const { from, to } = times(node);
  const turning = status === 'running' || status === 'undoing';
  const symbol = turning ? pc.cyan(spinner[Math.floor(window.now / 100) % spinner.length] ?? '') : symbols[status];
  const head = `${'  '.repeat(depth)}`;
  const opened = node.children.length > 0 && open(node, depth);
  const hidden = node.children.length > 0 && !opened ? ` (${count(node)} steps)` : '';
  const name = `${printable(node.name)}${hidden}`;
  const time = from === undefined ? '' : elapsed((to ?? (turning ? window.now : from)) - from);
  const words = [
    status === 'undoing' || status === 'undone' || status === 'failed' || status === 'skipped' ? status : '',
    printable(node.step?.detail ?? ''),
  ].filter(Boolean);
  const room = window.columns - head.length - 2 - name.length - 2 - time.length - 2;
  const detail = cut(words.join(': '), room);
  const tint = status === 'failed' ? pc.red : pc.dim;
  const line = [
    `${head}${symbol} ${depth === 0 ? pc.bold(name) : name}`,
    detail && tint(detail),
    time && time !== '0.0 s' && pc.dim(time),
  ]
    .filter(Boolean)
    .join('  ');
  return [line, ...(opened ? node.children.flatMap((child) => draw(child, depth + 1, open, window)) : [])];
}

const count = ({ children }: Node): number =>
  children.reduce((sum, child) => sum + (child.children.length > 0 ? count(child) : 1), 0);

/** Lines for the window: when all do not fit, what is finished folds first, then everything below services. */
export function renderTree(view: View, window: Window): string[] {
  const nodes = grow(view.steps);
  const notes = [
    ...view.blocked.map(({ text }) => pc.yellow(cut(`Blocked: ${printable(text)}`, window.columns))),
    ...view.waiting.map(({ text }) => pc.yellow(cut(`Waits for a person: ${printable(text)}`, window.columns))),
  ];
  const head = `${pc.bold(cut(printable(view.phase), window.columns))} ${pc.dim(`${percent(view.steps)} %`)}`;
  const room = Math.max(3, window.rows - 3 - notes.length);
  const folds: ((node: Node, depth: number) => boolean)[] = [
    () => true,
    (node, depth) => depth !== 1 || !quiet(node),
    (node) => !quiet(node),
    (_, depth) => depth === 0,
    () => false,
  ];
  let lines: string[] = [];
  for (const open of folds) {
    lines = nodes.flatMap((node) => draw(node, 0, open, window));
    if (lines.length <= room) break;
  }
  if (lines.length > room) lines = [...lines.slice(0, room - 1), pc.dim(`… ${lines.length - room + 1} more`)];
  return [head, ...lines, ...notes];
}

/** The whole tree, however long: what stays on the screen at the end. */
export const fullTree = (view: View, window: Omit<Window, 'rows'>): string[] =>
  renderTree(view, { ...window, rows: Number.POSITIVE_INFINITY });

function percent(steps: readonly Step[]): number {
  const finished = steps.filter(({ status }) => status !== 'pending' && status !== 'running').length;
  return steps.length === 0 ? 0 : Math.floor((100 * finished) / steps.length);
}

/** `3.2 s`, `2 m 05 s`, `1 h 12 m`. */
export function elapsed(ms: number): string {
  const seconds = Math.max(0, ms) / 1000;
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} m ${String(Math.floor(seconds % 60)).padStart(2, '0')} s`;
  return `${Math.floor(minutes / 60)} h ${String(minutes % 60).padStart(2, '0')} m`;
}
