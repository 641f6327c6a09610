// A nacked message comes back with the next attempt: at once, or after its delay while others pass it.
import assert from 'node:assert/strict';
import { Client, publish, second, until } from './client.mjs';

const stream = 'nacks';
for (let n = 1; n <= 4; n += 1) await publish(stream, { id: `m-${n}`, n });
const consumer = await Client.consume(second, stream, 'credit=3');
assert.deepEqual((await consumer.take(3)).map(({ seq, attempt }) => [seq, attempt]), [[1, 1], [2, 1], [3, 1]]);

// Without a delay: it comes back before fresh messages.
consumer.send({ nack: 'm-2' });
consumer.send({ credit: 1 });
assert.deepEqual(await consumer.next(), { deliver: { id: 'm-2', n: 2 }, id: 'm-2', seq: 2, attempt: 2 });

// With a delay: it waits even though there is credit, and a fresh message passes it.
const asked = Date.now();
consumer.send({ nack: [1, 'm-3'], delayMs: 200 });
consumer.send({ credit: 10 });
assert.deepEqual((await consumer.next()).seq, 4);
const back = await consumer.take(2);
assert.ok(Date.now() - asked >= 199, 'a nack came back before its delay');
assert.deepEqual(back.map(({ seq, attempt }) => [seq, attempt]), [[1, 2], [3, 2]]);

consumer.send({ nack: 3 });
assert.deepEqual((({ seq, attempt }) => [seq, attempt])(await consumer.next()), [3, 3]);
consumer.send({ ackUpTo: 4 });
await until(stream, ({ depth, inflight, ackedTotal, redeliveredTotal }) =>
    depth + inflight === 0 && ackedTotal === 4 && redeliveredTotal === 4);
await consumer.close();
