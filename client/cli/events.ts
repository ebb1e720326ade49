/** What has changed between two looks at a run: one event each, for logs and for programs. Pure. */
import type { Step } from '../../model/progress.ts';
import { printable } from '../../model/text.ts';
import { elapsed } from './tree.ts';
import type { View } from './view.ts';

export type RunEvent =
  | { event: 'phase'; workflowId: string; phase: string }
  | ({ event: 'step'; workflowId: string } & Step)
  | ({ event: 'waiting'; workflowId: string } & Omit<View['waiting'][number], 'workflowId'>)
  | ({ event: 'blocked' } & View['blocked'][number]);

export function eventsBetween(before: View | undefined, after: View): RunEvent[] {
  const { workflowId } = after;
  const known = new Map(before?.steps.map((step) => [step.name, step]));
  const same = (a: object | undefined, b: object): boolean => JSON.stringify(a) === JSON.stringify(b);
  return [
    ...(before?.phase === after.phase ? [] : [{ event: 'phase' as const, workflowId, phase: after.phase }]),
    ...after.steps
      .filter((step) => step.status !== 'pending' && !same(known.get(step.name), step))
      .map((step) => ({ event: 'step' as const, workflowId, ...step })),
    ...after.waiting
      .filter((one) => !before?.waiting.some((old) => old.plan === one.plan))
      .map((one) => ({ event: 'waiting' as const, ...one })),
    ...after.blocked
      .filter((one) => !before?.blocked.some((old) => same(old, one)))
      .map((one) => ({ event: 'blocked' as const, ...one })),
  ];
}

/** For logs: one line an event, with the time since the command was given. */
export function plainLine(event: RunEvent, sinceMs: number): string {
  const at = `[${elapsed(sinceMs)}]`;
  switch (event.event) {
    case 'phase':
      return `${at} ${printable(event.phase)}`;
    case 'step':
      return `${at}   ${printable(event.name)}: ${event.status}${event.detail ? `, ${printable(event.detail)}` : ''}`;
    case 'waiting':
      return `${at} waits for a person: ${printable(event.text)}`;
    case 'blocked':
      return `${at} blocked: ${printable(event.text)}`;
  }
}
