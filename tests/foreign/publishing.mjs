// Publishing over WebSocket: every ref is answered with its own value, a refusal keeps the connection open.
import assert from 'node:assert/strict';
import { Client, first, second, until } from './client.mjs';

for (const [address, target] of [[first, '/v1/publish'], [second, '/v1/subscribe?stream=elsewhere']]) {
    const stream = `publishing/${address}`;
    const publisher = await Client.open(address, target);

    const refs = [7, 'text', null, true, { a: [1, { b: 2 }] }, [], 0, ''];
    refs.forEach((ref, at) => publisher.send({ enqueue: { to: stream, envelope: { id: `m-${at}` } }, ref }));
    for (const [at, ref] of refs.entries()) {
        assert.deepEqual(await publisher.next(), { ok: { id: `m-${at}`, stream, seq: at + 1 }, ref });
    }

    // Without an id the server makes one, and consumers find it in the envelope.
    publisher.send({ enqueue: { to: stream, envelope: { text: 'ä 😀 \u0000' } }, ref: 'made' });
    const made = await publisher.next();
    assert.match(made.ok.id, /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}$/);

    // Refusals: with ref and without.
    publisher.send({ enqueue: { to: '', envelope: {} }, ref: 1 });
    publisher.send({ enqueue: { to: stream, envelope: [] }, ref: 2 });
    publisher.send({ enqueue: { to: '$alerts', envelope: {} }, ref: 3 });
    publisher.send({ enqueue: { to: 'a\nb', envelope: {} } });
    const refused = await publisher.take(4);
    assert.deepEqual(
        refused.map(({ error, ref }) => [error.code, ref]),
        [['InvalidStream', 1], ['InvalidEnvelope', 2], ['Forbidden', 3], ['InvalidStream', undefined]],
    );
    assert.ok(refused.every(({ error }) => error.message.length > 0));

    // Without ref there is no answer to success: the next frame answers the next ref.
    for (let n = 0; n < 50; n += 1) publisher.send({ enqueue: { to: stream, envelope: { n } } });
    publisher.send({ enqueue: { to: stream, envelope: {} }, ref: 'last' });
    const last = await publisher.next();
    assert.deepEqual([last.ref, last.ok.seq], ['last', 60]);

    const consumer = await Client.consume(address, stream, 'credit=100');
    const got = await consumer.take(60);
    assert.deepEqual(got.map(({ seq }) => seq), got.map((_, at) => at + 1));
    assert.deepEqual(got[8], { deliver: { id: made.ok.id, text: 'ä 😀 \u0000' }, id: made.ok.id, seq: 9, attempt: 1 });
    assert.equal(Object.keys(got[8].deliver)[0], 'id');
    assert.deepEqual(got.slice(9, 59).map(({ deliver }) => deliver.n), got.slice(9, 59).map((_, at) => at));
    consumer.send({ ackUpTo: 60 });
    await until(stream, ({ ackedTotal }) => ackedTotal === 60);
    await consumer.close();
    await publisher.close();
}
