// What both clients are asked, command by command, and what has to come back: [expected, command...].
// A function as what is expected looks at the reply itself.
const at = (low, high) => (reply) => Number(reply) >= low && Number(reply) <= high;
const soon = () => String(Math.floor(Date.now() / 1000) + 100);

export const commands = [
  ['OK', 'FLUSHALL'], ['PONG', 'PING'], ['hello', 'ECHO', 'hello'],
  ['OK', 'SET', 'a', '1'], ['1', 'GET', 'a'], [null, 'SET', 'a', '2', 'NX'], ['OK', 'SET', 'a', '2', 'XX'],
  ['2', 'SET', 'a', '3', 'GET'], ['3', 'GETSET', 'a', '4'], [0, 'SETNX', 'a', '5'], ['4', 'GETDEL', 'a'],
  [null, 'GET', 'a'], ['OK', 'SETEX', 'e', '100', 'x'], [at(98, 100), 'TTL', 'e'],
  ['OK', 'PSETEX', 'e', '90000', 'y'], [at(80000, 90000), 'PTTL', 'e'], ['y', 'GETEX', 'e', 'PERSIST'],
  [-1, 'TTL', 'e'], [1, 'EXPIRE', 'e', '50'], [at(48, 50), 'TTL', 'e'], [1, 'PERSIST', 'e'],
  [1, 'PEXPIRE', 'e', '50000'], [1, 'EXPIREAT', 'e', soon()], [at(95, 101), 'TTL', 'e'],
  [1, 'PEXPIREAT', 'e', soon() + '000'], [at(Date.now() / 1000, 1e11), 'EXPIRETIME', 'e'],
  [at(Date.now(), 1e14), 'PEXPIRETIME', 'e'], [-2, 'TTL', 'nothing'],
  ['OK', 'SET', 'k', 'v', 'EX', '100'], ['OK', 'SET', 'k', 'w', 'KEEPTTL'], [at(98, 100), 'TTL', 'k'],
  ['OK', 'SET', 'k', 'v', 'PX', '90000'], [at(80, 90), 'TTL', 'k'],
  ['OK', 'MSET', 'x', '1', 'y', '2'], [['1', '2', null], 'MGET', 'x', 'y', 'z'], [0, 'MSETNX', 'z', '1', 'x', '1'],
  [2, 'INCR', 'x'], [12, 'INCRBY', 'x', '10'], [11, 'DECR', 'x'], [1, 'DECRBY', 'x', '10'],
  ['1.5', 'INCRBYFLOAT', 'x', '0.5'], [5, 'APPEND', 'x', '00'], [5, 'STRLEN', 'x'], ['.5', 'GETRANGE', 'x', '1', '2'],
  [2, 'EXISTS', 'x', 'y', 'z'], [1, 'TOUCH', 'x'], ['string', 'TYPE', 'x'], ['none', 'TYPE', 'z'],
  [1, 'DEL', 'x', 'z'], [1, 'UNLINK', 'y'], [['e', 'k'], 'KEYS', '*'], [2, 'DBSIZE'], ['OK', 'SELECT', '0'],
  [(reply) => reply.includes('role:') || reply.includes('raft_'), 'INFO'], [(reply) => reply.length === 2, 'TIME'],
  [[1, 'e', null, 'two'], 'EVAL', "return { 1, KEYS[1], false, ARGV[2] }", '1', 'e', 'one', 'two'],
  ['098e0f0d1448c0a81dafe820f66d460eb09263da', 'SCRIPT', 'LOAD', 'return ARGV[1]'],
  ['x', 'EVALSHA', '098e0f0d1448c0a81dafe820f66d460eb09263da', '0', 'x'],
  [[1, 0], 'SCRIPT', 'EXISTS', '098e0f0d1448c0a81dafe820f66d460eb09263da', 'none'],
  [(reply) => Number(reply) > 0, 'CLIENT', 'ID'], [(reply) => reply.length > 50, 'COMMAND'],
];

const fits = (expected, reply) =>
  typeof expected === 'function' ? expected(reply) : JSON.stringify(expected) === JSON.stringify(reply);

export function check(what, expected, reply) {
  if (!fits(expected, reply)) throw new Error(`${what}: ${JSON.stringify(reply)}, not ${expected}`);
}

/** Asks all of them; how many they were. */
export async function checkCommands(ask) {
  for (const [expected, ...command] of commands) check(command.join(' '), expected, await ask(command));
  return commands.length;
}

const ADD_BOTH = "redis.call('INCR', KEYS[2]) return redis.call('INCR', KEYS[1])";

/** Adds to a counter for so long, while a node is killed; the sum lies between what was answered and tried. Half
 * of it is done by scripts, which add to another one, too. */
export async function checkCounter(ask, seconds) {
  const key = `counter ${process.pid}`;
  const other = `scripts ${process.pid}`;
  let scripts = 0;
  let triedScripts = 0;
  const due = Date.now() + seconds * 1000;
  let tried = 0;
  let answered = 0;
  let last = Date.now();
  let longest = 0;
  while (Date.now() < due) {
    const isScript = tried++ % 2 === 1;
    triedScripts += Number(isScript);
    try {
      await ask(isScript ? ['EVAL', ADD_BOTH, '2', key, other] : ['INCR', key]);
      answered++;
      scripts += Number(isScript);
      longest = Math.max(longest, Date.now() - last);
      last = Date.now();
    } catch { /* it may have happened or not */ }
  }
  const sum = Number(await ask(['GET', key]));
  if (answered === 0 || sum < answered || sum > tried)
    throw new Error(`the counter has ${sum}; ${answered} additions were answered, ${tried} tried`);
  const sumOfScripts = Number(await ask(['GET', other]));
  if (scripts === 0 || sumOfScripts < scripts || sumOfScripts > triedScripts)
    throw new Error(`scripts have added ${sumOfScripts}; ${scripts} were answered, ${triedScripts} tried`);
  return `${answered} of ${tried} additions answered, the sum is ${sum}, longest wait ${longest} ms`;
}
