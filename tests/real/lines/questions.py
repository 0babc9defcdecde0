"""Questions about lines: a receiver's keys, a file's path and its text, each with a name.

`corpus()` are those whose answers are recorded; `made_up` are new ones by a seed, of the same parts. Standard library only.
"""

import base64
import itertools
import json

POD = "pods/shop_cart-1_0c2a6b3a-9a0e-4bd1-9ad0-f1d1e2a3b4c5/main/3.log"
PLAIN = "app.log"
AT = "2026-12-01T10:00:00.123456789Z"

CRI = {
    "whole lines": f"{AT} stdout F one\n{AT} stderr F two\n",
    "pieces": f"{AT} stdout P begun,\n2026-12-01T10:00:01Z stdout P goes on,\n2026-12-01T10:00:02.5Z stdout F ends\n{AT} stdout F next\n",
    "pieces with blanks at their ends": f"{AT} stdout P one \n{AT} stdout F two  \n",
    "pieces of two streams, mixed": f"{AT} stdout P a\n{AT} stderr P b\n{AT} stdout F c\n{AT} stderr F d\n",
    "whole lines of one stream between pieces of the other": f"{AT} stdout P a\n{AT} stderr F b\n{AT} stdout F c\n",
    "an empty text": f"{AT} stdout F \n{AT} stdout F\n{AT} stdout F x\n",
    "a piece that stays one": f"{AT} stdout F whole\n{AT} stdout P begun\n",
    "offsets": "2026-12-01T10:00:00.123456789+01:00 stdout F crio\n2026-12-01T10:00:00.123456789-05:30 stderr F crio\n",
    "other tags": f"{AT} stdout F:x tagged\n{AT} stdout P:x begun\n{AT} stdout F ends\n",
    "blanks in front": f"{AT} stdout F     at main.go:7\n{AT} stdout F \ttabbed\n",
    "no lines of a runtime": f"plain text\n{AT} stdin F x\n{AT} stdout X y\nstdout F x\n",
    "no time": "2026-13-01T10:00:00Z stdout F month\n2026-12-01 stdout F day\nZ stdout F none\n",
    "long fractions": "2026-12-01T10:00:00.1Z stdout F a\n2026-12-01T10:00:00.123456789123Z stdout F b\n2026-12-01T10:00:00Z stdout F c\n",
    "json in a line": f'{AT} stdout F {{"level":"info","msg":"it runs","n":7}}\n',
    "end of line of Windows": f"{AT} stdout F a\r\n",
    "other characters": f"{AT} stdout F naïve — 日本語\n",
}

DOCKER = {
    "whole lines": json.dumps({"log": "one\n", "stream": "stdout", "time": AT}) + "\n" + json.dumps({"log": "two\n", "stream": "stderr", "time": AT}) + "\n",
    "more keys": '{"log":"a\\n","stream":"stdout","attrs":{"tag":"x","n":1},"time":"2026-12-01T10:00:00.5Z"}\n',
    "escapes": '{"log":"a\\tb\\u00e9 \\"q\\"\\n","stream":"stdout","time":"2026-12-01T10:00:00Z"}\n',
    "an end of line of Windows": '{"log":"a\\r\\n","stream":"stdout","time":"2026-12-01T10:00:00Z"}\n',
    "pieces": '{"log":"be","stream":"stdout","time":"2026-12-01T10:00:00Z"}\n{"log":"gun\\n","stream":"stdout","time":"2026-12-01T10:00:01Z"}\n',
    "no stream": '{"log":"a\\n","time":"2026-12-01T10:00:00Z"}\n',
    "no log": '{"stream":"stdout","time":"2026-12-01T10:00:00Z"}\n',
    "no time": '{"log":"a\\n","stream":"stdout"}\n{"log":"a\\n","stream":"stdout","time":"x"}\n{"log":"a\\n","stream":"stdout","time":7}\n',
    "cut": '{"log":"a\\n","stream":"stdo\n',
    "an offset": '{"log":"a\\n","stream":"stdout","time":"2026-12-01T10:00:00+01:00"}\n',
    "a log that is no text": '{"log":7,"stream":"stdout","time":"2026-12-01T10:00:00Z"}\n',
}

JSON_LINES = {
    "kinds": '{"s":"x","n":7,"big":12345678901,"neg":-3,"f":1.5,"e":1e3,"t":true,"z":null,"l":[1,"a",{"k":2}],"m":{"a":{"b":1}}}\n',
    "equal keys": '{"a":1,"a":2}\n',
    "escapes": '{"a":"x\\"y\\\\ \\u00e9 \\ud83d\\ude00 \\/"}\n',
    "empty": "{}\n",
    "blanks": '  { "a" : 1 ,  "b" : [ ] }  \n',
    "no object": '[1]\n7\n"x"\nnull\ntrue\n',
    "broken": '{"a":\n{"a":1}}\n{"a" 1}\n{\'a\':1}\n{"a":01}\n{"a":1,}\n{a:1}\nplain\n',
    "large numbers": '{"a":9223372036854775807,"b":9223372036854775808,"c":1e400,"d":0.1}\n',
    "keys with dots": '{"a.b":{"c.d":1}}\n',
    "text after": '{"a":1} x\n',
    "level, time and ids": '{"time":"2026-12-01T10:00:05.25Z","level":"warn","msg":"m","trace_id":"0af7651916cd43dd8448eb211c80319c",'
    '"span_id":"b7ad6b7169203331","trace_flags":"01"}\n',
}

PLAIN_LINES = {
    "levels": "INFO it runs\nERROR it broke\nnothing\n WARN  two blanks\n",
    "empty lines": "a\n\n\nb\n",
    "blanks": "  a  \n\t\n b\t\n",
    "without an end": "a\nb",
    "end of line of Windows": "a\r\nb\r\n",
    "stack": "1 begins\n  at a\n  at b\n2 begins\n  at c\n3 ends\n",
    "no first entry": "  at a\n  at b\n",
    "bytes that are no UTF-8": "caf\udce9 x\n",
    "other characters": "naïve — 日本語\n",
}

TIMES = [
    ("strptime", "%Y-%m-%d %H:%M:%S", ["2026-12-01 10:00:05", "2026-12-01 10:00:05.25", "2026-12-1 10:00:05", "26-12-01 10:00:05", "x", ""]),
    ("strptime", "%Y-%m-%dT%H:%M:%S.%LZ", ["2026-12-01T10:00:05.25Z", "2026-12-01T10:00:05Z", "2026-12-01T10:00:05+01:00", "2026-12-01T10:00:05.123456Z"]),
    ("strptime", "%Y-%m-%dT%H:%M:%S.%f%z", ["2026-12-01T10:00:05.25Z", "2026-12-01T10:00:05.25+0100", "2026-12-01T10:00:05.25+01:00"]),
    ("strptime", "%Y-%m-%dT%H:%M:%S%j", ["2026-12-01T10:00:05-05:00", "2026-12-01T10:00:05+0100", "2026-12-01T10:00:05Z"]),
    ("strptime", "%Y-%m-%dT%H:%M:%S%i", ["2026-12-01T10:00:05-05", "2026-12-01T10:00:05+01:00"]),
    ("strptime", "%d/%b/%Y:%H:%M:%S %z", ["01/Dec/2026:11:00:05 +0100", "01/dec/2026:11:00:05 +0100", "1/Dec/2026:11:00:05 -0330"]),
    ("strptime", "%a %b %e %H:%M:%S %Y", ["Tue Dec  1 10:00:05 2026", "Tue Dec 1 10:00:05 2026", "Mon Dec 01 10:00:05 2026"]),
    ("strptime", "%A, %d %B %Y %I:%M:%S %p", ["Tuesday, 01 December 2026 10:00:05 PM", "Tuesday, 01 December 2026 10:00:05 AM"]),
    ("strptime", "%Y-%m-%d %H:%M:%S,%L", ["2026-12-01 10:00:05,125", "2026-12-01 10:00:05.125", "2026-12-01 10:00:05"]),
    ("strptime", "%Y-%m-%d %H:%M:%S.%s", ["2026-12-01 10:00:05.123456789", "2026-12-01 10:00:05.1"]),
    ("strptime", "%F %T", ["2026-12-01 10:00:05"]),
    ("strptime", "%D %R", ["12/01/2026 10:00"]),
    ("strptime", "%y%m%d %H%M%S", ["261201 100005", "700101 000000", "690101 000000"]),
    ("strptime", "%Y-%q-%g %l:%M:%S %p", ["2026-2-3 1:02:03 PM", "2026-12-13 11:02:03 AM"]),
    ("strptime", "%Y-%m-%d %H:%M:%S %Z", ["2026-12-01 10:00:05 UTC", "2026-12-01 10:00:05 GMT"]),
    ("strptime", "%Y-%m-%d", ["2026-12-01", "2026-02-30", "2024-02-29"]),
    ("strptime", "%c", ["Tue Dec 01 10:00:05 2026"]),
    ("strptime", "%Q", ["x"]),
    ("strptime", "%Y-%m-%d %H:%M:%S%L", ["2026-12-01 10:00:05125"]),
    ("gotime", "2006-01-02T15:04:05.999999999Z07:00", ["2026-12-01T11:00:05+01:00", "2026-12-01T10:00:05.125Z", "2026-12-01T10:00:05"]),
    ("gotime", "2006-01-02T15:04:05Z07:00", ["2026-12-01T10:00:05.5Z", "2026-12-01T24:00:00Z"]),
    ("gotime", "Jan 02 2006 15:04:05.000", ["Dec 01 2026 10:00:05.500", "Dec 01 2026 10:00:05.5", "Dec 01 2026 10:00:05"]),
    ("gotime", "2 Jan 2006 3:04PM", ["1 Dec 2026 10:00PM", "1 Dec 2026 12:00AM"]),
    ("gotime", "Mon, 02 Jan 2006 15:04:05 -0700", ["Tue, 01 Dec 2026 11:00:05 +0100"]),
    ("gotime", "02/Jan/2006:15:04:05 -0700", ["01/Dec/2026:11:00:05 +0100"]),
    ("gotime", "2006-01-02 15:04:05,000", ["2026-12-01 10:00:05,500"]),
    ("gotime", "2006-002", ["2026-335", "2026-366"]),
    ("gotime", "2006-01-02 15:04:05999", ["2026-12-01 10:00:05999"]),
    ("epoch", "s", ["1796119205", "1796119205.9", "-1", "x", ""]),
    ("epoch", "ms", ["1796119205250", "1796119205"]),
    ("epoch", "us", ["1796119205250000"]),
    ("epoch", "ns", ["1796119205250000000"]),
    ("epoch", "s.ms", ["1796119205.250", "1796119205.25", "1796119205"]),
    ("epoch", "s.us", ["1796119205.250000", "1796119205.25"]),
    ("epoch", "s.ns", ["1796119205.250000000", "1796119205.25"]),
    ("epoch", "h", ["1"]),
]

SEVERITIES = [
    ({}, ["info", "INFO", "Warning", "warn3", "err", "error4", "fatal", "13", "0", "25", "notice", "", "trace2", "err2"]),
    ({"preset": "none"}, ["info", "warn"]),
    ({"preset": "otel"}, ["info", "warning", "13"]),
    ({"preset": "aliases"}, ["info", "err"]),
    ({"overwrite_text": True}, ["info", "warning", "warn3", "odd"]),
    ({"mapping": {"error": "oops"}}, ["oops", "OOPS", "error"]),
    ({"mapping": {"error": ["e", "E2", 7]}}, ["e", "e2", "7", "07"]),
    ({"mapping": {"error": "5xx", "warn": "4xx", "info": ["2xx", "3xx"]}}, ["503", "404", "200", "302", "600"]),
    ({"mapping": {"fatal": {"min": 10, "max": 20}}}, ["10", "20", "21", "09"]),
    ({"mapping": {"fatal": {"min": 20, "max": 10}}}, ["10", "15"]),
    ({"mapping": {"warn": [{"min": 100, "max": 103}, "w"]}}, ["101", "w", "W"]),
    ({"mapping": {"info": "WARN"}}, ["warn"]),
    ({"mapping": {"error": True}}, ["true"]),
]


def row(name, text, operators=(), path=PLAIN, **keys):
    """A question; `operators` may be empty. A text that is not UTF-8 has its bytes in base64."""
    if operators:
        keys["operators"] = list(operators)
    try:
        text.encode()
    except UnicodeEncodeError:
        plain = base64.b64encode(text.encode("utf-8", "surrogateescape")).decode()
        return {"name": name, "keys": keys, "path": path, "bytes": plain}
    return {"name": name, "keys": keys, "path": path, "text": text}


def containers():
    container = {"type": "container"}
    for name, text in CRI.items():
        yield row(f"container, CRI: {name}", text, [container], POD, include_file_path=True)
    for name, text in DOCKER.items():
        yield row(f"container, Docker: {name}", text, [container], POD, include_file_path=True)
    for form in ("docker", "crio", "containerd", "podman"):
        fixed = {"type": "container", "format": form}
        for texts, name in ((CRI, "whole lines"), (CRI, "offsets"), (DOCKER, "whole lines")):
            kind = "Docker" if texts is DOCKER else "CRI"
            yield row(f"container of format {form}, {kind}: {name}", texts[name], [fixed], POD, include_file_path=True)
    away = {"type": "container", "add_metadata_from_filepath": False}
    for name in ("whole lines", "pieces", "no lines of a runtime"):
        yield row(f"container without metadata: {name}", CRI[name], [away], PLAIN)
    yield row("container without include_file_path", CRI["whole lines"], [container], POD)
    yield row("container at another path", CRI["whole lines"], [container], PLAIN, include_file_path=True)
    for policy in ("send", "send_quiet", "drop", "drop_quiet"):
        failing = {"type": "container", "on_error": policy}
        yield row(f"container, on_error {policy}", CRI["no lines of a runtime"] + CRI["whole lines"], [failing], POD, include_file_path=True)
    small = {"type": "container", "max_log_size": 10}
    yield row("container of a small max_log_size", CRI["pieces"], [small], POD, include_file_path=True)
    behind = [container, {"type": "json_parser", "if": "body startsWith '{'"}]
    yield row("container with json_parser", CRI["json in a line"] + CRI["whole lines"], behind, POD, include_file_path=True)
    rotated = POD + ".20261201-100000"
    yield row("container of a rotated file", CRI["whole lines"], [container], rotated, include_file_path=True)
    guarded = {"type": "container", "if": "body matches '^[0-9T:.-]+Z std'"}
    yield row("container with a condition", "plain\n" + CRI["whole lines"], [guarded], POD, include_file_path=True)


def parsers():
    for name, text in JSON_LINES.items():
        yield row(f"json_parser: {name}", text, [{"type": "json_parser"}])
        yield row(f"json_parser of ints: {name}", text, [{"type": "json_parser", "parse_ints": True}])
    for to in ("body", "attributes.a", "attributes", "resource", "body.parsed", "attributes['x.y'].z"):
        yield row(f"json_parser to {to}", JSON_LINES["kinds"], [{"type": "json_parser", "parse_to": to}])
        yield row(f"json_parser twice to {to}", JSON_LINES["kinds"], [{"type": "json_parser", "parse_to": to}, {"type": "json_parser", "parse_to": to}])
    for policy in ("send", "drop", "send_quiet", "drop_quiet", "fall"):
        yield row(f"json_parser, on_error {policy}", JSON_LINES["broken"], [{"type": "json_parser", "on_error": policy}])
    ids = "level, time and ids"
    embedded = {
        "timestamp": {"parse_from": "attributes.time", "layout": "%Y-%m-%dT%H:%M:%S.%LZ"},
        "severity": {"parse_from": "attributes.level"},
        "trace": {
            "trace_id": {"parse_from": "attributes.trace_id"},
            "span_id": {"parse_from": "attributes.span_id"},
            "trace_flags": {"parse_from": "attributes.trace_flags"},
        },
    }
    yield row("json_parser with all embedded", JSON_LINES[ids], [{"type": "json_parser", **embedded}])
    yield row("json_parser with embedded ones that are not there", '{"level":"warn"}\n', [{"type": "json_parser", **embedded}])
    yield row("json_parser with a time that is none", '{"time":"x","level":"warn"}\n', [{"type": "json_parser", **embedded}])
    yield row("json_parser with a time that is none, dropped", '{"time":"x","level":"warn"}\n', [{"type": "json_parser", "on_error": "drop", **embedded}])
    for from_ in ("attributes.none", "body.none", "resource.none", "log", "attributes"):
        yield row(f"json_parser from {from_}", JSON_LINES["kinds"], [{"type": "json_parser", "parse_from": from_}])
    for pattern in (
        r"^(?P<level>\w+) (?P<text>.*)$", r"(?P<level>[A-Z]+)", r"^(?P<level>INFO)?(?P<rest>.*)$", r"(?P<a>x)|(?P<b>it)", r"(\w+)", "(", r"(?<level>\w+) ",
    ):
        yield row(f"regex_parser {pattern}", PLAIN_LINES["levels"], [{"type": "regex_parser", "regex": pattern}])
        yield row(f"regex_parser {pattern} to the body, dropped", PLAIN_LINES["levels"], [{"type": "regex_parser", "regex": pattern, "parse_to": "body", "on_error": "drop"}])
    yield row("regex_parser without a pattern", "a\n", [{"type": "regex_parser"}])
    ints = '{"level":503,"t":1796119205,"f":1796119205.25,"b":true,"half":0.5}\n'
    for keys, from_ in itertools.product(({}, {"parse_ints": True}), ("level", "t", "b", "half")):
        parse = {"type": "json_parser", **keys}
        yield row(f"severity_parser of a number {from_} {sorted(keys)}", ints, [parse, {"type": "severity_parser", "parse_from": f"attributes.{from_}", "mapping": {"error": "5xx"}}])
    for keys, from_, layout in itertools.product(({}, {"parse_ints": True}), ("t", "f", "b"), ("s", "ms", "s.ms", "s.us")):
        parse = {"type": "json_parser", **keys}
        time = {"type": "time_parser", "parse_from": f"attributes.{from_}", "layout_type": "epoch", "layout": layout}
        yield row(f"time_parser of a number {from_} as {layout} {sorted(keys)}", ints, [parse, time])


def times():
    for kind, layout, texts in TIMES:
        of = {"type": "time_parser", "parse_from": "body", "layout_type": kind, "layout": layout}
        for text in texts:
            yield row(f"time_parser {kind} {layout}: {text}", f"{text}\n" if text else "\n", [of])
    zoned = {"type": "time_parser", "parse_from": "body", "layout": "%Y-%m-%d %H:%M:%S"}
    for zone in ("UTC", "Europe/Madrid", "America/New_York", "Nowhere/At_all", "Asia/Kolkata"):
        for text in ("2026-12-01 10:00:05", "2026-07-01 10:00:05"):
            yield row(f"time_parser in {zone}: {text}", f"{text}\n", [{**zoned, "location": zone}])
    yield row("time_parser without a field", "x\n", [{"type": "time_parser", "layout": "%Y"}])
    yield row("time_parser without a layout", "x\n", [{"type": "time_parser", "parse_from": "body"}])
    yield row("time_parser of a field that is not there", "x\n", [{**zoned, "parse_from": "attributes.t"}])
    yield row("time_parser, dropped", "x\n2026-12-01 10:00:05\n", [{**zoned, "on_error": "drop"}])


def severities():
    for keys, texts in SEVERITIES:
        of = {"type": "severity_parser", "parse_from": "body", **keys}
        yield row(f"severity_parser {json.dumps(keys)}", "".join(f"{text}\n" for text in texts), [of])
    yield row("severity_parser without a field", "x\n", [{"type": "severity_parser"}])
    yield row("severity_parser of a field that is not there", "x\n", [{"type": "severity_parser", "parse_from": "attributes.l", "on_error": "drop"}])


def traces():
    parse = {"type": "json_parser"}
    good, ids = JSON_LINES["level, time and ids"], ("trace_id", "span_id", "trace_flags")
    fields = {key: {"parse_from": f"attributes.{key}"} for key in ids}
    yield row("trace_parser by its own fields", good, [{"type": "json_parser", "parse_to": "body"}, {"type": "trace_parser"}])
    yield row("trace_parser by attributes", good, [parse, {"type": "trace_parser", **fields}])
    yield row("trace_parser of one id", good, [parse, {"type": "trace_parser", "trace_id": fields["trace_id"]}])
    for key, text in (("trace_id", "xyz"), ("span_id", "b7ad6b71692033"), ("trace_id", "0AF7651916CD43DD8448EB211C80319C"), ("trace_flags", "1"), ("trace_id", "")):
        line = json.dumps({"trace_id": "0af7651916cd43dd8448eb211c80319c", "span_id": "b7ad6b7169203331", key: text}) + "\n"
        yield row(f"trace_parser, {key} {text!r}", line, [parse, {"type": "trace_parser", **fields}])
        yield row(f"trace_parser, {key} {text!r}, dropped", line, [parse, {"type": "trace_parser", "on_error": "drop", **fields}])


def changes():
    parse, line = {"type": "json_parser"}, '{"a":1.5,"m":{"x":"y","z":{"w":2}},"s":"text","l":[1]}\n'
    fields = ("attributes.a", "attributes.m", "attributes.m.x", "attributes.s", "attributes.none", "body", "resource.r", "attributes['log.file.name']", "attributes.s.deep", "body.k", "attributes")
    for from_, to in itertools.product(fields, ("attributes.b", "attributes.m", "body", "resource.r", "body.k.j", "attributes.s.deep", "attributes")):
        for kind in ("move", "copy"):
            yield row(f"{kind} {from_} to {to}", line, [parse, {"type": kind, "from": from_, "to": to}])
    for value in ("x", 7, 1.5, True, None, {"k": "v"}, ["a", 1], ""):
        for field in ("attributes.n", "attributes.m", "attributes.m.x", "body", "body.k", "resource.r", "attributes"):
            yield row(f"add {json.dumps(value)} to {field}", line, [parse, {"type": "add", "field": field, "value": value}])
    for field in (*fields, "resource", "attributes.l"):
        yield row(f"remove {field}", line, [parse, {"type": "remove", "field": field}])
        yield row(f"remove {field}, dropped", line, [parse, {"type": "remove", "field": field, "on_error": "drop"}])
        yield row(f"retain {field}", line, [parse, {"type": "add", "field": "resource.r", "value": "v"}, {"type": "retain", "fields": [field]}])
    yield row("retain of nothing", line, [parse, {"type": "retain", "fields": []}])
    yield row("retain of two", line, [parse, {"type": "retain", "fields": ["attributes.m.x", "attributes.a"]}])
    yield row("retain within the body", line, [{"type": "json_parser", "parse_to": "body"}, {"type": "retain", "fields": ["body.m.x", "body.none"]}])
    yield row("noop", line, [{"type": "noop"}])
    yield row("an operator that does not exist", line, [{"type": "nonsense"}])


CONDITIONS = [
    "body matches '^INFO'", "body contains 'it'", "body startsWith 'ERR'", "body endsWith 'broke'", "body == 'nothing'", "body != 'nothing'",
    "attributes.none == nil", "attributes.none != nil", "attributes.none == 'x'", "attributes.none matches 'x'", "attributes.none > 3", "body > 'J'",
    "not (body matches '^INFO')", "!(body contains 'it')", "body in ['nothing', 'x']", "body not in ['nothing']", "body contains 'it' and body contains 'runs'",
    "body contains 'runs' || body contains 'broke'", "true", "false", 'attributes["log.file.name"] == "app.log"', "attributes.none.deep == nil",
    "body matches '('", "body ===", "attributes.none contains 'x' or true", "true or attributes.none contains 'x'", "body matches 'I(NF|T)O' and not false",
]


def conditions():
    for text in CONDITIONS:
        yield row(f"filter {text}", PLAIN_LINES["levels"], [{"type": "filter", "expr": text}])
        yield row(f"add if {text}", PLAIN_LINES["levels"], [{"type": "add", "field": "attributes.k", "value": "v", "if": text}])
        yield row(f"add if {text}, dropped", PLAIN_LINES["levels"], [{"type": "add", "field": "attributes.k", "value": "v", "if": text, "on_error": "drop"}])
        marks = [{"type": "add", "id": name, "field": "attributes.route", "value": name, "output": "end"} for name in ("one", "two")]
        routed = [{"type": "router", "routes": [{"expr": text, "output": "one"}, {"expr": "body contains 'it'", "output": "two"}]}, *marks, {"type": "noop", "id": "end"}]
        yield row(f"router {text}", PLAIN_LINES["levels"], routed)
    marked = [{"type": "add", "id": "one", "field": "attributes.route", "value": "one", "output": "end"}, {"type": "noop", "id": "end"}]
    yield row("router with a default", PLAIN_LINES["levels"], [{"type": "router", "routes": [{"expr": "body matches '^INFO'", "output": "one"}], "default": "end"}, *marked])
    yield row("router to nowhere", "a\n", [{"type": "router", "routes": [{"expr": "true", "output": "none"}]}, *marked])
    yield row("router without routes", "a\n", [{"type": "router"}, *marked])
    numbers = '{"code":503,"flag":true,"f":0.5,"m":{"a":1}}\n{"code":"x"}\n'
    for text in ("attributes.code >= 500", "attributes.code == 503", "attributes.flag", "attributes.flag == true", "attributes.f < 1", "attributes.m.a == 1", "attributes.code in [503, 'x']"):
        for keys in ({}, {"parse_ints": True}):
            yield row(f"filter of numbers {sorted(keys)} {text}", numbers, [{"type": "json_parser", **keys}, {"type": "filter", "expr": text}])


def recombined():
    stack, first, last = PLAIN_LINES["stack"], {"is_first_entry": "body matches '^[0-9]'"}, {"is_last_entry": "body endsWith 'b' or body endsWith 'ends'"}
    for edge, keys in itertools.product((first, last), (
        {}, {"combine_with": ""}, {"combine_with": " | "}, {"overwrite_with": "newest"}, {"max_batch_size": 2}, {"max_log_size": 10},
        {"max_unmatched_batch_size": 1}, {"max_unmatched_batch_size": 0}, {"source_identifier": "attributes['log.file.name']"}, {"if": "body contains 'at'"},
        {"force_flush_period": "200ms"},
    )):
        for name in ("stack", "no first entry", "levels"):
            of = {"type": "recombine", "combine_field": "body", **edge, **keys}
            yield row(f"recombine {json.dumps([edge, keys])}: {name}", PLAIN_LINES[name], [of], include_file_path=True)
    numbered = [{"type": "regex_parser", "regex": "^(?P<n>[0-9]?)"}, {"type": "recombine", "combine_field": "body", **first, "overwrite_with": "newest"}]
    yield row("recombine keeps the newest", stack, numbered, include_file_path=True)
    yield row("recombine keeps the oldest", stack, [numbered[0], {**numbered[1], "overwrite_with": "oldest"}], include_file_path=True)
    yield row("recombine of both edges", stack, [{"type": "recombine", "combine_field": "body", **first, **last}])
    yield row("recombine of no edge", stack, [{"type": "recombine", "combine_field": "body"}])
    yield row("recombine without a field", stack, [{"type": "recombine", **first}])
    yield row("recombine of an attribute", stack, [{"type": "regex_parser", "regex": "^(?P<t>.*)$"}, {"type": "recombine", "combine_field": "attributes.t", **first}], include_file_path=True)
    yield row("recombine of a field that is not there", stack, [{"type": "recombine", "combine_field": "attributes.t", **first}], include_file_path=True)
    many = "".join(f"line {number}\n" for number in range(250))
    yield row("recombine of 250 lines without a first one", many, [{"type": "recombine", "combine_field": "body", **first}], include_file_path=True)


def files():
    for name, text in PLAIN_LINES.items():
        yield row(f"lines: {name}", text)
        yield row(f"lines with their blanks: {name}", text, preserve_leading_whitespaces=True, preserve_trailing_whitespaces=True)
    for key, on in itertools.product(("preserve_leading_whitespaces", "preserve_trailing_whitespaces", "include_file_name", "include_file_path", "include_file_name_resolved"), (True, False)):
        yield row(f"lines, {key} {on}", PLAIN_LINES["blanks"], **{key: on})
    for multiline in (
        {"line_start_pattern": "^[0-9]"}, {"line_start_pattern": "^[0-9] ", "omit_pattern": True}, {"line_end_pattern": "at b\n"}, {"line_end_pattern": "at b\n", "omit_pattern": True},
        {"line_end_pattern": "ends"}, {"line_start_pattern": "("}, {"line_start_pattern": "a", "line_end_pattern": "b"}, {"line_start_pattern": "begins"}, {"line_end_pattern": "[0-9]"},
        {"line_start_pattern": ""}, {"line_end_pattern": "\\n\\n"},
    ):
        for name in ("stack", "no first entry", "without an end", "empty lines"):
            yield row(f"multiline {json.dumps(multiline)}: {name}", PLAIN_LINES[name], multiline=multiline)
            yield row(f"multiline {json.dumps(multiline)} with blanks: {name}", PLAIN_LINES[name], multiline=multiline, preserve_leading_whitespaces=True, preserve_trailing_whitespaces=True)
    for size in (64, 100):
        yield row(f"max_log_size {size}", "x" * 250 + "\n" + "y" * 90 + "\n", max_log_size=size)
    for encoding in ("utf-8", "utf8", "ascii", "UTF-8", "utf-8-raw", "nonsense"):
        yield row(f"encoding {encoding}", PLAIN_LINES["other characters"] + PLAIN_LINES["bytes that are no UTF-8"], encoding=encoding)
    yield row("attributes and resource", "a\n", attributes={"k": "v"}, resource={"r": "s"})
    yield row("outputs that skip", "a\n", [{"type": "noop", "output": "last"}, {"type": "add", "field": "attributes.k", "value": "v"}, {"type": "noop", "id": "last"}])
    yield row("an output to nowhere", "a\n", [{"type": "noop", "output": "none"}])
    yield row("equal ids", "a\n", [{"type": "noop", "id": "x"}, {"type": "add", "id": "x", "field": "attributes.k", "value": "v"}])
    yield row("a key that does not exist", "a\n", nonsense=1)
    yield row("a key of an operator that does not exist", "a\n", [{"type": "noop", "nonsense": 1}])


def corpus():
    """All whose answers are recorded. Names are their keys, so none stands twice."""
    parts = (containers, parsers, times, severities, traces, changes, conditions, recombined, files)
    return [question for part in parts for question in part()]


def made_up(rng, count, differing):
    """New ones: texts of the corpus under chains of its operators, three at most, without those of the questions named in
    `differing`. What a container operator is asked is lines of runtimes, which it meets first.
    """
    known = corpus()
    left_out = {question.get("text") for question in known if question["name"] in differing}
    known = [question for question in known if question["name"] not in differing and question.get("text") not in {None, *left_out}]
    is_plain = lambda one: one["type"] not in ("router", "container") and "output" not in one and "id" not in one  # noqa: E731
    operators = [one for question in known for one in question["keys"].get("operators", []) if is_plain(one)]
    of_runtimes, others = ([one for one in known if one["name"].startswith("container") is wanted] for wanted in (True, False))
    for number in range(count):
        is_container = rng.random() < 0.3
        chain = [rng.choice(operators) for _ in range(rng.randrange(1, 4))]
        if is_container:
            # Those that it fails on overtake the others in a Collector, which is its own order and nobody's wish.
            chain[0] = {"type": "container", "on_error": "drop"}
        if any(one["type"] == "recombine" for one in chain):
            # With parse_ints a Collector takes text behind an object, which lines that are joined have.
            chain = [{key: value for key, value in one.items() if key != "parse_ints"} for one in chain]
        text = "".join(rng.choice(of_runtimes if is_container else others)["text"] for _ in range(rng.randrange(1, 4)))
        path = POD if is_container else rng.choice((POD, PLAIN))
        yield row(f"made up {number}", text if text.endswith("\n") else text + "\n", chain, path, include_file_path=True)
