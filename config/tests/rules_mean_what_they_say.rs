//! Every feature of the language, each with requests that show it: the files are the tables.

mod rules_support;

use rules_support::all_as_they_say;

#[test]
fn conditions_on_requests() {
    all_as_they_say(
        r#"
version: proto-dsl/v0
rules:
  - {id: literal, when: {http: {method: GET, path: /a}}, send: {http: {body: 1}}}
  - {id: methods, when: {http: {method: [PUT, DELETE], path: /a}}, send: {http: {body: 2}}}
  - {id: glob, when: {http: {path: /files/*.json}}, send: {http: {body: 3}}}
  - {id: params, when: {http: {path: "/users/{user}/items/{item}"}}, send: {http: {body: [$params.user, $params.item]}}}
  - {id: pattern, when: {http: {path: '/^\/v(?P<n>[0-9]+)\/x$/'}}, send: {http: {body: $params.n}}}
  - {id: bearer, when: {http: {path: /h, headers: {Authorization: "Bearer *"}}}, send: {http: {body: 5}}}
  - {id: either, when: {http: {path: /h, headers: {x-mode: [fast, slow]}}}, send: {http: {body: 6}}}
  - {id: query, when: {http: {path: /q, query: {kind: "a*", n: 2}}}, send: {http: {body: 7}}}
  - {id: type, when: {http: {path: /t, contentType: [application/json, "text/*"]}}, send: {http: {body: 8}}}
  - {id: all, when: {all: [{http: {path: /all}}, {http: {headers: {x: y}}}]}, send: {http: {body: 9}}}
  - {id: any, when: {any: [{http: {path: /any1}}, {http: {path: /any2}}]}, send: {http: {body: 10}}}
  - {id: not, when: {all: [{http: {path: /not}}, {not: {http: {headers: {x: y}}}}]}, send: {http: {body: 11}}}
  - {id: beside, when: {http: {path: /where}, where: $query.n > 5}, send: {http: {body: 12}}}
  - {id: region, when: {http: {path: /region, headers: {x-region: $env.REGION}}}, send: {http: {body: 13}}}
  - {id: everything, when: {http: {path: /any/*}}, send: {http: {status: 204}}}
tests:
  - {request: {path: /a}, expect: {rule: literal, respond: {http: {status: 200, body: 1}}}}
  - {request: {method: HEAD, path: /a}, expect: {rule: literal}}
  - {request: {method: DELETE, path: /a}, expect: {rule: methods}}
  - {request: {method: POST, path: /a}, expect: {rule: null}}
  - {request: {path: /a/}, expect: {rule: null}}
  - {request: {path: /%61}, expect: {rule: literal}}
  - {request: {path: /files/x/y.json}, expect: {rule: glob}}
  - {request: {path: /filesxyzjson}, expect: {rule: null}}
  - {request: {path: /users/7/items/a%20b}, expect: {rule: params, respond: {http: {body: ["7", "a b"]}}}}
  - {request: {path: /users/a%2Fb/items/c}, expect: {rule: params, respond: {http: {body: [a/b, c]}}}}
  - {request: {path: /users//items/c}, expect: {rule: null}}
  - {request: {path: /v12/x}, expect: {rule: pattern, respond: {http: {body: "12"}}}}
  - {request: {path: /v/x}, expect: {rule: null}}
  - {request: {path: /h, headers: {authorization: Bearer abc}}, expect: {rule: bearer}}
  - {request: {path: /h, headers: {authorization: Basic abc}}, expect: {rule: null}}
  - {request: {path: /h, headers: {X-Mode: slow}}, expect: {rule: either}}
  - {request: {path: /h, headers: {x-mode: medium}}, expect: {rule: null}}
  - {request: {path: "/q?kind=ab&n=2"}, expect: {rule: query}}
  - {request: {path: "/q?n=2&kind=b"}, expect: {rule: null}}
  - {name: the last of repeated parameters counts, request: {path: "/q?n=1&kind=a&n=2"}, expect: {rule: query}}
  - {request: {method: POST, path: /t, headers: {content-type: "Application/JSON; charset=utf-8"}}, expect: {rule: type}}
  - {request: {method: POST, path: /t, headers: {content-type: text/csv}}, expect: {rule: type}}
  - {request: {method: POST, path: /t, headers: {content-type: application/xml}}, expect: {rule: null}}
  - {request: {method: POST, path: /t}, expect: {rule: null}}
  - {request: {path: /all, headers: {x: y}}, expect: {rule: all}}
  - {request: {path: /all}, expect: {rule: null}}
  - {request: {path: /any2}, expect: {rule: any}}
  - {request: {path: /not}, expect: {rule: not}}
  - {request: {path: /not, headers: {x: y}}, expect: {rule: null}}
  - {request: {path: "/where?n=10"}, expect: {rule: beside}}
  - {request: {path: "/where?n=5"}, expect: {rule: null}}
  - {name: a variable is meant letter by letter, request: {path: /region, headers: {x-region: "eu*west"}}, expect: {rule: region}}
  - {request: {path: /region, headers: {x-region: eu-west}}, expect: {rule: null}}
  - {request: {path: /any/x}, expect: {rule: everything, respond: {http: {status: 204, body: null}}}}
"#,
    );
}

#[test]
fn the_first_rule_that_applies_wins_and_a_tenants_own_come_first() {
    all_as_they_say(
        r#"
version: proto-dsl/v0
rules:
  - {id: narrow, when: {http: {path: /x/1}}, send: {http: {body: 1}}}
  - {id: body, when: {http: {path: /x/*}, where: $body.a == 1}, send: {http: {body: 2}}}
  - {id: wide, when: {http: {path: /x/*}}, send: {http: {body: 3}}}
tenantOverlays:
  acme: {rules: [{id: own, when: {http: {path: /x/1}}, send: {http: {body: $tenant}}}]}
  default: {rules: [{id: default, when: {http: {path: /d}}, send: {http: {body: $tenant}}}]}
tests:
  - {request: {path: /x/1}, expect: {rule: narrow}}
  - {request: {method: POST, path: /x/2, body: {a: 1}}, expect: {rule: body}}
  - {request: {method: POST, path: /x/2, body: {a: 2}}, expect: {rule: wide}}
  - {request: {method: POST, path: /x/2, text: "{"}, expect: {rule: wide}}
  - {tenant: acme, request: {path: /x/1}, expect: {rule: own, respond: {http: {body: acme}}}}
  - {tenant: acme, request: {path: /x/3}, expect: {rule: wide}}
  - {tenant: other, request: {path: /x/1}, expect: {rule: narrow}}
  - {request: {path: /d}, expect: {rule: default, respond: {http: {body: default}}}}
  - {tenant: acme, request: {path: /d}, expect: {rule: null}}
"#,
    );
}

#[test]
fn expressions() {
    let table = [
        ("$body.n == 1", "{n: 1}", true),
        ("$body.n == 1", "{n: 1.0}", true),
        ("$body.n == 1", "{n: \"1\"}", true),
        ("$body.n == '1'", "{n: 1}", true),
        ("$body.n != 1", "{}", true),
        ("$body.n == null", "{}", true),
        ("$body.n == null", "{n: 0}", false),
        ("$body.n < 10 and $body.n >= 2", "{n: 2}", true),
        ("$body.n < 10", "{n: x}", false),
        ("$body.n < 'b'", "{n: a}", true),
        ("$body.n > 9007199254740992", "{n: 9007199254740993}", true),
        ("$body.n in [1, 'a', true]", "{n: a}", true),
        ("$body.n not in [1, 2]", "{n: 3}", true),
        ("$body.n in $body.list", "{n: 2, list: [1, 2]}", true),
        ("$body.n in $body.list", "{n: 2, list: 2}", false),
        ("$body.n matches /^a\\/b+$/", "{n: a/bb}", true),
        ("$body.n matches /^a/", "{n: 1}", false),
        ("exists $body.n", "{n: null}", true),
        ("exists $body.n", "{}", false),
        ("not exists($body.n)", "{}", true),
        ("$body.n", "{n: []}", true),
        ("$body.n", "{n: \"\"}", false),
        ("$body.n or $body.m", "{m: 1}", true),
        ("not ($body.n or $body.m)", "{m: 0}", true),
        ("$body.a == 1 or $body.b == 1 and $body.c == 1", "{a: 1}", true),
        ("$body.a.b[1].c == 'x'", "{a: {b: [0, {c: x}]}}", true),
        ("$body['a b'] == true", "{a b: true}", true),
        ("[1, 2] == $body.n", "{n: [1, 2]}", true),
        ("$method == \"POST\" and $path == '/x'", "{}", true),
        ("$now.unixMs == 1767225600000 and $now == '2026-01-01T00:00:00.000Z'", "{}", true),
        ("true", "{}", true),
    ];
    for (expression, body, holds) in table {
        let quoted = expression.replace('\'', "''");
        let rules = format!("  - {{id: r, when: {{http: {{path: /x}}, where: '{quoted}'}}, send: {{http: {{}}}}}}");
        let file = rules_support::file_of(&rules);
        let case = format!("request: {{method: POST, path: /x, body: {body}}}");
        let came = rules_support::came(&file, &case);
        assert_eq!(came.rule.is_some(), holds, "{expression} {body}");
    }
}

#[test]
fn values() {
    let table = [
        ("$body.a", "{\"b\":[1,2]}"),
        ("'$body.a.b[1]'", "2"),
        ("'x/$body.a.b[0]/y'", "\"x/1/y\""),
        ("'${body.t}-inbox'", "\"t-inbox\""),
        ("'$body.t.'", "\"t.\""),
        ("'costs $$5'", "\"costs $5\""),
        ("'$$body.t'", "\"$body.t\""),
        ("'a $body.none b'", "null"),
        ("'$body.a.b'", "[1,2]"),
        ("'is $body.a.b'", "\"is [1,2]\""),
        ("{k: $body.none, l: [$body.none]}", "{\"l\":[null]}"),
        ("{const: {coalesce: $body.t}}", "{\"coalesce\":\"$body.t\"}"),
        ("{coalesce: [$body.none, $body.nil, $body.t]}", "\"t\""),
        ("{k: {coalesce: [$body.none]}}", "{\"k\":null}"),
        ("{default: [$body.nil, 7]}", "7"),
        ("{default: [$body.t, 7]}", "\"t\""),
        ("{pick: [$body, t, none]}", "{\"t\":\"t\"}"),
        ("{pick: {from: $body, keys: [t]}}", "{\"t\":\"t\"}"),
        ("{regex: [$body.v, 'v([0-9]+)']}", "\"12\""),
        ("{regex: [$body.v, '[0-9]+']}", "\"12\""),
        ("{regex: {value: $body.v, pattern: '(?P<l>[a-z])', group: l}}", "\"v\""),
        ("{k: {regex: [$body.v, 'x']}}", "{}"),
        ("{toInt: $body.n}", "12"),
        ("{toInt: '-7'}", "-7"),
        ("{k: {toInt: $body.t}}", "{}"),
        ("{toFloat: $body.n}", "12.75"),
        ("{k: {toFloat: inf}}", "{}"),
        ("{toString: $body.a}", "\"{\\\"b\\\":[1,2]}\""),
        ("{toString: 1}", "\"1\""),
        ("{deep: [{toInt: {default: [$body.none, '3']}}]}", "{\"deep\":[3]}"),
        ("$query", "{\"q\":\"1 2\"}"),
        ("$headers.X-Tag", "\"tag\""),
        ("$tenant", "\"acme\""),
        ("$now", "\"2026-01-01T00:00:00.000Z\""),
        ("{t: $now.unixMs}", "{\"t\":1767225600000}"),
        ("$env.REGION", "\"eu*west\""),
        ("{k: $env.EMPTY}", "{}"),
        ("'$method $path'", "\"POST /x\""),
    ];
    let case = "tenant: acme\nrequest: {method: POST, path: '/x?q=1+2', headers: {x-tag: tag}, \
                body: {a: {b: [1, 2]}, t: t, nil: null, v: v12, n: '12.75'}}";
    for (value, expected) in table {
        let rules = format!("  - {{id: r, when: {{http: {{path: /x}}}}, send: {{http: {{body: {value}}}}}}}");
        let came = rules_support::came(&rules_support::file_of(&rules), case);
        let body = came.answer.expect("an answer")["body"].take();
        assert_eq!(body.to_string(), expected, "{value}");
    }
}

#[test]
fn variables_asserts_errors_and_what_follows() {
    all_as_they_say(
        r#"
version: proto-dsl/v0
defaults:
  map: {who: {default: [$headers.x-who, nobody]}, unused: $body.x}
  onError:
    Timeout: {http: {status: 504, body: {late: $error.code}}}
    "*": {http: {status: $error.status, headers: {x-code: $error.code}, body: {said: $error.message}}}
rules:
  - id: main
    when: {http: {method: POST, path: /m}}
    map: {$to: "in/$who", plain: $to, n: {toInt: $body.n}}
    assert:
      - exists $body.id
      - {that: $n > 0, code: TooSmall, status: 422, message: "$body.n is too small"}
    send:
      frame:
        type: enqueue
        fields: {to: $plain, envelope: {id: $body.id, by: $who}}
        respond: {http: {status: 201, headers: {location: /m/$result.id, content-type: text/plain}, body: "$result.seq for $who"}}
    onError:
      TooSmall: {http: {status: 418, body: {own: $error.code}}}
    onComplete:
      - {frame: {type: enqueue, fields: {to: audit, envelope: {seq: $result.seq, by: $who}}}}
  - {id: bare, when: {http: {path: /stats}}, send: {frame: {type: stats, fields: {stream: $query.s}}}}
  - id: own
    when: {http: {path: /own}}
    send: {frame: {type: metrics}}
    onError: {"*": {http: {status: 500, body: own}}}
  - id: audit
    when: {http: {path: /say}}
    send: {http: {status: 202}}
    onComplete: {frame: {type: enqueue, fields: {to: log, envelope: {at: $path}}}}
tests:
  - request: {method: POST, path: /m, headers: {x-who: me}, body: {id: 1, n: "3"}}
    result: {id: 1, seq: 9}
    expect:
      frame: {type: enqueue, fields: {to: in/me, envelope: {id: 1, by: me}}}
      respond: {http: {status: 201, headers: {location: /m/1, content-type: text/plain}, body: 9 for me}}
      then: [{type: enqueue, fields: {to: audit, envelope: {seq: 9, by: me}}}]
  - request: {method: POST, path: /m, body: {n: 3}}
    expect: {respond: {http: {status: 400, headers: {x-code: InvalidField}, body: {said: "the request must have: exists $body.id"}}}, then: []}
  - {request: {method: POST, path: /m, body: {id: 1, n: 0}}, expect: {respond: {http: {status: 418, body: {own: TooSmall}}}}}
  - {request: {method: POST, path: /m, body: {id: 1, n: 1}}, error: {code: Timeout}, expect: {respond: {http: {status: 504, body: {late: Timeout}}}, then: []}}
  - {request: {method: POST, path: /m, body: {id: 1, n: 1}}, error: {code: StorageX, status: 507, message: full}, expect: {respond: {http: {status: 507, body: {said: full}}}}}
  - {request: {method: POST, path: /m, text: "{"}, expect: {rule: main, respond: {http: {status: 400, headers: {x-code: InvalidJSON}}}}}
  - {request: {path: "/stats?s=a"}, result: {depth: 4}, expect: {frame: {type: stats, fields: {stream: a}}, respond: {http: {status: 200, body: {depth: 4}}}}}
  - {request: {path: /stats}, expect: {respond: {http: {status: 400, body: {said: missing stream}}}}}
  - {request: {path: /own}, error: {code: Timeout}, expect: {respond: {http: {status: 500, body: own}}}}
  - {request: {path: /say}, expect: {respond: {http: {status: 202}}, then: [{type: enqueue, fields: {to: log, envelope: {at: /say}}}]}}
"#,
    );
}

#[test]
fn websockets_on_connect_and_for_each_message() {
    all_as_they_say(
        r#"
version: proto-dsl/v0
rules:
  - id: closed
    when: {ws: {path: /feed, query: {key: bad}}}
    send: {ws: {body: {error: no}, close: {code: 4001, reason: "no $query.key"}}}
  - id: feed
    when: {ws: {path: "/feed/{name}", headers: {authorization: "Bearer *"}}}
    send: {frame: {type: subscribe, fields: {stream: "feeds/$params.name", credit: 5, hello: true}}}
  - id: ping
    when: {ws: {path: /feed/*, message: {type: text, json.match: {op: ping}}}}
    send: {ws: {body: {pong: $message.n}}}
  - id: more
    when: {ws: {message: {json: {has: [give.more, give.by]}}}}
    send: {frame: {type: grant, fields: {credit: $message.give.more}}}
  - id: done
    when: {ws: {path: /feed/*}, where: $message.op == "done"}
    send: {frame: {type: ack, fields: {id: $message.ids}, respond: {ws: {body: {ok: $result.n}}}}}
  - id: later
    when: {ws: {path: /feed/*, message: {json.has: retry}}}
    send: {frame: {type: nack, fields: {id: $message.retry, delayMs: 100}}}
    onError: {"*": {ws: {body: {sorry: $error.code}, close: 1008}}}
  - id: put
    when: {ws: {path: "/feed/{name}", message: {json.has: put}}}
    send: {frame: {type: enqueue, fields: {to: "in/$params.name", envelope: $message.put}}}
  - {id: bye, when: {ws: {path: /feed/*, message: {json.has: bye}}}, send: {ws: {close: 1000}}}
  - {id: named, when: {ws: {path: "/feed/{name}", message: {json.has: who}}}, send: {ws: {body: $params.name}}}
tests:
  - {ws: {path: "/feed?key=bad"}, expect: {rule: closed, respond: {ws: {body: {error: no}, close: 4001}}}}
  - {ws: {path: /feed/a%20b, headers: {authorization: Bearer x}}, expect: {rule: feed, frame: {type: subscribe, fields: {stream: feeds/a b, credit: 5, hello: true}}, respond: {ws: {body: null, close: null}}}}
  - {ws: {path: /feed/a}, expect: {rule: null}}
  - {ws: {path: /feed/a, message: {op: ping, n: 3}}, expect: {rule: ping, respond: {ws: {body: {pong: 3}, close: null}}}}
  - {ws: {path: /other, message: {give: {more: 2, by: me}}}, expect: {rule: more, frame: {type: grant, fields: {credit: 2}}, respond: {ws: {body: null}}}}
  - {ws: {path: /other, message: {give: {more: 0, by: me}}}, expect: {rule: more, respond: {ws: {close: 1003}}}}
  - {ws: {path: /feed/a, message: {op: done, ids: [x, y]}}, result: {n: 2}, expect: {frame: {type: ack, fields: {id: [x, y]}}, respond: {ws: {body: {ok: 2}}}}}
  - {ws: {path: /feed/a, message: {op: done}}, expect: {rule: done, respond: {ws: {body: {error: {code: InvalidField, message: missing id}}, close: 1003}}}}
  - {ws: {path: /feed/a, message: {retry: x}}, expect: {frame: {type: nack, fields: {id: x, delayMs: 100}}}}
  - {ws: {path: /feed/a, message: {retry: null}}, expect: {respond: {ws: {body: {sorry: InvalidField}, close: 1008}}}}
  - {ws: {path: /feed/a, message: {bye: 1}}, expect: {respond: {ws: {body: null, close: 1000}}}}
  - {ws: {path: /feed/b, message: {who: 1}}, expect: {respond: {ws: {body: b}}}}
  - {ws: {path: /feed/a, message: {other: 1}}, expect: {rule: null}}
  - {ws: {path: /feed/a, text: "not json"}, expect: {rule: null}}
  - {ws: {path: /feed/a, message: {put: {x: 1}}}, expect: {rule: put, frame: {type: enqueue, fields: {to: in/a, envelope: {x: 1}}}}}
"#,
    );
}

#[test]
fn the_examples_of_the_documented_form() {
    all_as_they_say(
        r#"
version: proto-dsl/v0
rules:
  - id: status
    when: {http: {method: GET, path: /status}}
    send: {http: {status: 200, body: {service: conduit, ok: true}}}
  - id: hook
    when: {http: {method: POST, path: /hooks/build, headers: {x-source: ci}}}
    send:
      frame:
        type: enqueue
        fields: {to: agents/Build/inbox, envelope: {id: $body.id, type: ci.event, payload: $body}}
        respond: {http: {status: 202, body: {accepted: true, id: $result.id}}}
    onError: {InvalidEnvelope: {http: {status: 400, body: {error: bad hook}}}}
  - id: depth
    when: {all: [{any: [{http: {path: /depth}}, {http: {path: /v2/depth}}]}, {not: {http: {headers: {x-client: probe}}}}]}
    map: {"$s": {default: [$query.stream, agents/Main/inbox]}}
    send: {frame: {type: stats, fields: {stream: $s}, respond: {http: {status: 200, body: {name: $s, depth: $result.depth}}}}}
  - id: grant
    when: {http: {path: /grant}}
    map: {"$n": {toInt: $query.n}}
    send: {frame: {type: grant, fields: {credit: $n}}}
tests:
  - {request: {path: /status}, expect: {rule: status, respond: {http: {status: 200, body: {service: conduit, ok: true}}}}}
  - request: {method: POST, path: /hooks/build, headers: {x-source: ci}, body: {id: b1, ref: main}}
    result: {id: b1}
    expect:
      frame: {type: enqueue, fields: {to: agents/Build/inbox, envelope: {id: b1, type: ci.event, payload: {id: b1, ref: main}}}}
      respond: {http: {status: 202, body: {accepted: true, id: b1}}}
  - request: {method: POST, path: /hooks/build, headers: {x-source: ci}, body: {}}
    error: {code: InvalidEnvelope}
    expect: {respond: {http: {status: 400, body: {error: bad hook}}}}
  - {request: {path: /v2/depth}, result: {depth: 3}, expect: {respond: {http: {body: {name: agents/Main/inbox, depth: 3}}}}}
  - {request: {path: "/depth?stream=x"}, result: {depth: 3}, expect: {respond: {http: {body: {name: x, depth: 3}}}}}
  - {request: {path: /depth, headers: {x-client: probe}}, expect: {rule: null}}
  - {request: {path: "/grant?n=12"}, result: {granted: 12}, expect: {frame: {type: grant, fields: {credit: 12}}, respond: {http: {status: 200, body: {granted: 12}}}}}
"#,
    );
}
