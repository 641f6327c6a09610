// What the scripts share: WebSockets of the npm package `ws` whose messages can be awaited one by one.
// Every script is called with the two addresses of a server, host:port, and exits with 0 when all that it asserts holds.
import { createRequire } from 'node:module';
import { join } from 'node:path';

const require = createRequire(join(process.env.FOREIGN_NODE_PATH, '..', 'script.js'));
export const WebSocket = require('ws');
export const msgpack = require('@msgpack/msgpack');

export const [first, second] = process.argv.slice(2);

// Nothing takes this long on a machine that works.
setTimeout(() => {
    console.error('the script waited in vain');
    process.exit(1);
}, 18_000).unref();

export class Client {
    #messages = [];
    #waiting = [];
    #ended;

    constructor(address, target, protocols, options) {
        this.socket = new WebSocket(`ws://${address}${target}`, protocols, options);
        this.opened = new Promise((resolve, reject) => {
            this.socket.once('open', () => resolve(this));
            this.socket.once('error', reject);
        });
        this.socket.on('message', (data, isBinary) => {
            const message = { data, isBinary };
            const waiting = this.#waiting.shift();
            if (waiting) waiting(message);
            else this.#messages.push(message);
        });
        this.#ended = new Promise((resolve) => {
            this.socket.once('close', (code, reason) => resolve({ code, reason: reason.toString() }));
        });
    }

    static open(address, target, protocols = [], options = {}) {
        return new Client(address, target, protocols, options).opened;
    }

    static consume(address, stream, options = '') {
        return Client.open(address, `/v1/subscribe?stream=${encodeURIComponent(stream)}&${options}`);
    }

    send(frame) {
        this.socket.send(JSON.stringify(frame));
    }

    raw() {
        const message = this.#messages.shift();
        return message ? Promise.resolve(message) : new Promise((resolve) => this.#waiting.push(resolve));
    }

    async next() {
        const { data, isBinary } = await this.raw();
        if (isBinary) throw new Error('a binary frame on a JSON connection');
        return JSON.parse(data.toString());
    }

    async take(count) {
        const frames = [];
        while (frames.length < count) frames.push(await this.next());
        return frames;
    }

    // The codes of the errors that were told, the close code and its reason.
    async end() {
        const { code, reason } = await this.#ended;
        const decode = ({ data, isBinary }) => (isBinary ? msgpack.decode(data) : JSON.parse(data.toString()));
        const told = this.#messages.map((message) => decode(message).error?.code);
        return { told, code, reason };
    }

    async close() {
        this.socket.close(1000);
        await this.#ended;
    }
}

export async function publish(stream, envelope) {
    const response = await fetch(`http://${first}/v1/enqueue`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ to: stream, envelope }),
    });
    if (response.status !== 200) throw new Error(`${response.status}: ${await response.text()}`);
    return response.json();
}

export async function stats(stream) {
    const response = await fetch(`http://${first}/v1/stats?stream=${encodeURIComponent(stream)}`);
    if (response.status !== 200) throw new Error(`${response.status}: ${await response.text()}`);
    return response.json();
}

// Asks for the figures until they are as expected.
export async function until(stream, holds) {
    for (;;) {
        const figures = await stats(stream);
        if (holds(figures)) return figures;
    }
}
