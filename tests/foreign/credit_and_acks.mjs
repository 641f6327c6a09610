// A consumer gets what it has credit for and no more, and an ack of any form settles what it names.
import assert from 'node:assert/strict';
import { Client, first, publish, second, stats, until } from './client.mjs';

for (const [name, address] of [['one', first], ['two', second]]) {
    const stream = `credit/${name}`;
    for (let n = 1; n <= 9; n += 1) await publish(stream, { id: `m-${n}`, n });
    const consumer = await Client.consume(address, stream);
    const before = await until(stream, (figures) => figures.consumers === 1);
    assert.deepEqual([before.depth, before.deliveredTotal, before.credit], [9, 0, 0]);

    consumer.send({ credit: 7 });
    const frames = await consumer.take(7);
    assert.deepEqual(
        frames,
        [1, 2, 3, 4, 5, 6, 7].map((n) => ({ deliver: { id: `m-${n}`, n }, id: `m-${n}`, seq: n, attempt: 1 })),
    );
    const spent = await stats(stream);
    assert.deepEqual([spent.depth, spent.inflight, spent.credit], [2, 7, 0]);

    consumer.send({ ack: 2 }); // by seq
    await until(stream, ({ ackedTotal }) => ackedTotal === 1);
    consumer.send({ ack: 'm-4' }); // by id
    await until(stream, ({ ackedTotal }) => ackedTotal === 2);
    consumer.send({ ack: ['m-5', 6] }); // an array of either
    await until(stream, ({ ackedTotal }) => ackedTotal === 4);
    consumer.send({ ackUpTo: 3 }); // everything up to there that is still in flight
    await until(stream, ({ ackedTotal, inflight }) => ackedTotal === 6 && inflight === 1);
    // What is not in flight is ignored, an empty array too; the connection lives on.
    consumer.send({ ack: [] });
    consumer.send({ ack: ['m-4', 99] });
    consumer.send({ nack: 'unheard of' });
    consumer.send({ ack: 7 });
    await until(stream, ({ ackedTotal, inflight }) => ackedTotal === 7 && inflight === 0);

    consumer.send({ credit: 100 });
    assert.deepEqual((await consumer.take(2)).map(({ seq }) => seq), [8, 9]);
    consumer.send({ ackUpTo: 9 });
    await until(stream, ({ ackedTotal, depth, inflight }) => ackedTotal === 9 && depth + inflight === 0);
    await consumer.close();
    await until(stream, ({ consumers, credit }) => consumers === 0 && credit === 0);
}
