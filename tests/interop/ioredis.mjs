// The client `ioredis` against a cluster: node ioredis.mjs PORT SECONDS
import Redis from 'ioredis';
import { check, checkCommands, checkCounter } from './commands.mjs';

const [port, seconds] = process.argv.slice(2).map(Number);
const client = new Redis(port);
client.on('error', () => {});
const ask = ([name, ...args]) => client.call(name, ...args);
const count = await checkCommands(ask);

check('pipeline', [[null, 'OK'], [null, 2]], await client.pipeline().set('p', 1).incr('p').exec());
check('multi', [[null, 3], [null, '3']], await client.multi().incr('p').get('p').exec());
await client.watch('p');
await client.set('p', 9);
check('watch', null, await client.multi().set('p', 1).exec());

client.defineCommand('twice', { numberOfKeys: 1, lua: "return redis.call('INCRBY', KEYS[1], 2 * ARGV[1])" });
check('evalsha', 15, await client.twice('p', 3)); // which has to fall back to EVAL first
check('evalsha again', 17, await client.twice('p', 1));

const subscriber = new Redis(port);
await subscriber.subscribe('__keyspace@0__:seen');
const event = new Promise((resume) => subscriber.on('message', (channel, text) => resume([channel, text])));
await client.set('seen', 1);
check('subscribe', ['__keyspace@0__:seen', 'set'], await event);
await subscriber.quit();

const found = [];
for await (const keys of client.scanStream({ count: 2 })) found.push(...keys);
check('scan', ['e', 'k', 'p', 'seen'], found.sort());
console.log(`ioredis: ${count} commands, a pipeline, a transaction, a watch, scripts, a subscription, a scan`);
console.log(`ioredis: ${await checkCounter(ask, seconds)}`);
await client.quit();
