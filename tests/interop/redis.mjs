// The client `redis` against a cluster: node redis.mjs PORT SECONDS
import { createClient } from 'redis';
import { check, checkCommands, checkCounter } from './commands.mjs';

const [port, seconds] = process.argv.slice(2).map(Number);
const client = createClient({ url: `redis://127.0.0.1:${port}` });
client.on('error', () => {});
await client.connect();
const ask = (command) => client.sendCommand(command);
const count = await checkCommands(ask);

check('multi', ['OK', 2, '2'], await client.multi().set('m', '1').incr('m').get('m').exec());
await client.watch('m');
await client.set('m', '9');
let refused = false;
await client.multi().set('m', '1').exec().catch(() => { refused = true; });
check('watch', true, refused);

check('eval', ['m', 'x'], await client.eval('return { KEYS[1], ARGV[1] }', { keys: ['m'], arguments: ['x'] }));
const why = await client.eval("redis.call('SET', KEYS[1], 'lost') error 'no'", { keys: ['m'] }).catch((error) => error.message);
check('eval that raises', true, why.endsWith('user_script:1: no'));
check('what it leaves', '9', await client.get('m'));

const events = [];
const subscriber = client.duplicate();
await subscriber.connect();
await subscriber.pSubscribe('__keyevent@0__:*', (key, channel) => events.push(`${channel} ${key}`));
await client.set('seen', '1');
while (events.length === 0) await new Promise((resume) => setTimeout(resume, 20));
check('subscribe', ['__keyevent@0__:set seen'], events);
await subscriber.quit();

const found = [];
for await (const keys of client.scanIterator({ MATCH: '*', COUNT: 2 })) found.push(...keys);
check('scan', ['e', 'k', 'm', 'seen'], found.sort());
console.log(`redis: ${count} commands, a transaction, a watch, scripts, a subscription, a scan`);
console.log(`redis: ${await checkCounter(ask, seconds)}`);
await client.quit();
