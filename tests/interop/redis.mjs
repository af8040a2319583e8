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
console.log(`redis: ${count} commands, a transaction, a watch, a subscription, a scan`);
console.log(`redis: ${await checkCounter(ask, seconds)}`);
await client.quit();
