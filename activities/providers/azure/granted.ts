/** What a role allows: https://learn.microsoft.com/azure/role-based-access-control/role-definitions#actions */
export interface Granted {
  actions: readonly string[];
  notActions: readonly string[];
}

const literal = (text: string): string => text.replace(/[.\\+?^${}()|[\]]/g, '\\$&');

export function allows({ actions, notActions }: Granted, action: string): boolean {
  const matches = (pattern: string): boolean =>
    new RegExp(`^${pattern.split('*').map(literal).join('.*')}$`, 'i').test(action);
  return actions.some(matches) && !notActions.some(matches);
}
