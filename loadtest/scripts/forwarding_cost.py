#!/usr/bin/env python3
"""What a publish costs whose stream another shard owns.

Starts a server with two shards, opens 64 keep-alive connections, finds out which shard each landed on, and then lets all of
them publish to a stream of their own shard or of the other one, in turns. Prints the server's CPU time per message of both.

Usage: loadtest/scripts/forwarding_cost.py [path of the conduit binary] [rounds]
"""

import glob
import json
import socket
import subprocess
import sys
import urllib.request

BINARY = sys.argv[1] if len(sys.argv) > 1 else "target/release/conduit"
ROUNDS = int(sys.argv[2]) if len(sys.argv) > 2 else 5
CONNECTIONS = 64
MESSAGES_EACH = 1_000

server = subprocess.Popen([BINARY, "--shards", "2", "--http-port", "0", "--ws-port", "0"], stdout=subprocess.PIPE, text=True)


def cpu_ns():
    return sum(int(open(path).read().split()[0]) for path in glob.glob(f"/proc/{server.pid}/task/*/schedstat"))


def request(stream):
    body = json.dumps({"to": stream, "envelope": {"id": "0123456789ab", "payload": "x" * 128}})
    return f"POST /v1/enqueue HTTP/1.1\r\nhost: a\r\ncontent-length: {len(body)}\r\n\r\n{body}".encode()


def publish(connection, stream):
    connection.sendall(request(stream))
    assert b"200 OK" in connection.recv(4096)


try:
    port = next(int(line.rsplit(":", 1)[1]) for line in server.stdout if line.startswith("Conduit HTTP on"))

    def forwarded():
        metrics = urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/metrics")
        return json.load(metrics)["totals"]["forwarded"]

    def is_forwarded(connection, stream):
        before = forwarded()
        publish(connection, stream)
        return forwarded() > before

    connections = [socket.create_connection(("127.0.0.1", port)) for _ in range(CONNECTIONS)]
    first = connections[0]
    streams = [f"forwarding/{n}" for n in range(40)]
    near = next(stream for stream in streams if not is_forwarded(first, stream))
    far = next(stream for stream in streams if is_forwarded(first, stream))
    here = [connection for connection in connections if not is_forwarded(connection, near)]
    there = [connection for connection in connections if connection not in here]
    print(f"{len(here)} connections on one shard, {len(there)} on the other")

    def load(stream_of_here, stream_of_there):
        pairs = [(c, request(stream_of_here)) for c in here] + [(c, request(stream_of_there)) for c in there]
        begun_ns, begun_forwarded = cpu_ns(), forwarded()
        for _ in range(MESSAGES_EACH):
            for connection, text in pairs:
                connection.sendall(text)
            for connection, _ in pairs:
                connection.recv(4096)
        messages = MESSAGES_EACH * len(pairs)
        return (cpu_ns() - begun_ns) / messages, (forwarded() - begun_forwarded) / messages

    load(near, far)
    for _ in range(ROUNDS):
        (local_ns, none), (remote_ns, every) = load(near, far), load(far, near)
        assert none == 0 and every == 1
        print(f"local {local_ns:.0f} ns, forwarded {remote_ns:.0f} ns, ratio {remote_ns / local_ns:.2f}", flush=True)
finally:
    server.terminate()
    server.wait()
