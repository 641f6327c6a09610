"""Bodies compressed by Python's gzip, sent by its http.client: they mean what they mean unpacked."""

import gzip
import http.client
import json
import sys

host, port = sys.argv[1].rsplit(":", 1)
connection = http.client.HTTPConnection(host, int(port), timeout=20)


def post(body, target="/v1/enqueue", **fields):
    headers = {"Content-Type": "application/json", **{name.replace("_", "-"): value for name, value in fields.items()}}
    connection.request("POST", target, body=body, headers=headers)
    answer = connection.getresponse()
    return answer.status, answer, json.loads(answer.read())


message = json.dumps({"to": "packed", "envelope": {"id": "p-1", "text": "x" * 100_000}}).encode()
packed = gzip.compress(message)
assert len(packed) < 1_000

# Many on one connection, with a length, in chunks, and between plain ones.
for _ in range(3):
    assert post(packed, Content_Encoding="gzip")[0] == 200
    assert post(message)[0] == 200
    pieces = (packed[at : at + 100] for at in range(0, len(packed), 100))
    assert post(pieces, Content_Encoding="gzip")[0] == 200

lines = b"\n".join([json.dumps({"to": "packed", "envelope": {"n": n}}).encode() for n in range(500)])
status, _, body = post(gzip.compress(lines), Content_Type="application/x-ndjson", Content_Encoding="x-gzip")
assert (status, body["accepted"]) == (200, 500), body

# A rule sees what was packed.
status, _, body = post(gzip.compress(b'{"n": 41}'), target="/seen", Content_Encoding="gzip")
assert (status, body) == (200, {"seen": 41}), body
status, _, body = post(b'{"n": 41}', target="/seen", Content_Encoding="gzip")
assert (status, body["why"]) == (400, "InvalidGzipEncoding"), body

for damaged in (packed[:-1], packed + b"\0", packed + packed, message, packed[:40] + b"\xff" * 9 + packed[49:]):
    status, _, body = post(damaged, Content_Encoding="gzip")
    assert (status, body["code"], body["error"]) == (400, "InvalidGzipEncoding", "Invalid gzip encoding"), body

# 200 MB in 200 KB: stopped at the limit.
bomb = gzip.compress(b" " * 200_000_000)
status, _, body = post(bomb, Content_Encoding="gzip")
assert (status, body["code"]) == (413, "PayloadTooLarge"), body

for coding in ("br", "deflate", "gzip, gzip"):
    status, answer, body = post(message, Content_Encoding=coding)
    assert (status, body["code"]) == (415, "UnsupportedContentEncoding"), body
    assert answer.getheader("Accept-Encoding") == "gzip, identity"

connection.request("GET", "/v1/stats?stream=packed")
stats = json.loads(connection.getresponse().read())
assert stats["depth"] == 509, stats
