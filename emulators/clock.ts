/**
 * The clock of a local cloud may be wrong, as those of real ones are: `clockMs` of its settings is added to it. Imported before all
 * that looks at the time.
 */
const { clockMs = 0 } = JSON.parse(process.env.LOCAL_CLOUD ?? '{}') as { clockMs?: number };

if (clockMs !== 0) {
  const real = Date;
  const now = (): number => real.now() + clockMs;
  globalThis.Date = new Proxy(real, {
    construct: (target, args, as) => Reflect.construct(target, args.length > 0 ? args : [now()], as),
    apply: () => new real(now()).toString(),
    get: (target, name) => (name === 'now' ? now : Reflect.get(target, name)),
  });
}
