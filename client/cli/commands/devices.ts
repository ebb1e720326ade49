/** The devices of a service. */
import { Command } from 'commander';
import { simulate } from './devices-simulate.ts';

export const devices = (): Command =>
  new Command('devices')
    .description('the devices of an iot_core service: simulate runs some')
    .addHelpText(
      'after',
      '\nExample:\n  npx multi-cloud devices simulate iot_core --certificates ./devices --count 200 --for 1m',
    )
    .addCommand(simulate());
