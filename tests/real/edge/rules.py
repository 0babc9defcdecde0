"""The rules of OTLP that SDKs cannot show, by requests written by hand: HTTP over http.client, gRPC by grpcio as bytes.

Usage: rules.py FACTS, a JSON object with podgate's ports, the next hop's port and the file of what came to it. Prints a
JSON list of [rule, claim, {transport: null or what was seen instead}]. Rules: OTLP specification 1.11, server side.
"""

import base64
import gzip
import http.client
import json
import pathlib
import sys
import zlib

import grpc
from google.rpc import error_details_pb2, status_pb2
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

SERVICE = "/opentelemetry.proto.collector.{}.v1{}.{}Service/Export"
SIGNALS = {"traces": ("trace", "", "Trace"), "metrics": ("metrics", "", "Metrics"), "logs": ("logs", "", "Logs")}
PROTOBUF, JSON = "application/x-protobuf", "application/json"
TRACE, SPAN = "5b8efff798038103d269b633813fc60c", "eee19b7ec3c1b174"
CODES = {code.value[0]: code for code in grpc.StatusCode}


def varint(value):
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(out) + bytes([value])


def field(number, content):
    """A length-delimited protobuf field."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def request(*spans, unknown=b""):
    return field(1, unknown + field(2, b"".join(field(2, span) for span in spans) + unknown) + unknown) + unknown


def span(name=b"x", more=b""):
    return field(1, bytes.fromhex(TRACE)) + field(2, bytes.fromhex(SPAN)) + field(5, name) + more


def nested(levels):
    value = field(1, b"bottom")
    for _ in range(levels):
        value = field(5, field(1, value))
    return field(9, field(1, b"deep") + field(2, value))


class Answer:
    """What came back: `code` is the HTTP status or gRPC's code, `status` the google.rpc.Status of a failure."""

    def __init__(self, code, headers, body, status):
        self.code, self.headers, self.body, self.status = code, headers, body, status

    def __repr__(self):
        return f"{self.code} {self.headers} {self.body[:200]} {self.status}"

    def retry_seconds(self):
        """Of RetryInfo; None without."""
        for detail in self.status.details if self.status else ():
            if detail.type_url.endswith("google.rpc.RetryInfo"):
                return error_details_pb2.RetryInfo.FromString(detail.value).retry_delay.seconds
        return None

    def has(self, name):
        return any(detail.type_url.endswith(name) for detail in self.status.details)

    def rejected(self):
        answer = trace_service_pb2.ExportTraceServiceResponse.FromString(self.body)
        return answer.partial_success.rejected_spans if answer.HasField("partial_success") else None


class Http:
    name, too_large, bad, busy, final = "HTTP", 413, 400, 503, 500

    def __init__(self, facts):
        self.ports = {"": facts["http"], "small": facts["small_http"], "other": facts["grpc"]}

    def ask(self, body, port="", path="/v1/traces", method="POST", kind=PROTOBUF, **headers):
        headers = {"content-type": kind, **{name.replace("_", "-"): value for name, value in headers.items()}}
        connection = http.client.HTTPConnection("127.0.0.1", self.ports[port], timeout=20)
        connection.request(method, path, body, {name: value for name, value in headers.items() if value is not None})
        with connection.getresponse() as answer:
            body, found = answer.read(), {name.lower(): value for name, value in answer.getheaders()}
            code = answer.status
        connection.close()
        status = status_of(body, found["content-type"]) if code >= 400 else None
        return Answer(code, found, body, status)

    def packed(self, body, how, port=""):
        packers = {"gzip": gzip.compress, "deflate": zlib.compress}
        return self.ask(packers[how](body), port, content_encoding=how)

    def signal(self, signal):
        return self.ask(b"", path=f"/v1/{signal}")

    ok = 200

    def hint(self, answer):
        after = answer.headers.get("retry-after")
        return int(after) if after and int(after) == answer.retry_seconds() else None


def status_of(body, kind):
    """google.rpc.Status in either encoding."""
    if kind == PROTOBUF:
        return status_pb2.Status.FromString(body)
    found = json.loads(body)
    status = status_pb2.Status(code=found.get("code", 0), message=found["message"])
    for detail in found.get("details", []):
        packed = error_details_pb2.RetryInfo()
        packed.retry_delay.seconds = int(detail.get("retryDelay", "0s").rstrip("s"))
        status.details.add(type_url=detail["@type"], value=packed.SerializeToString())
    return status


class Grpc:
    name, too_large, bad = "gRPC", grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.INVALID_ARGUMENT
    busy, final, ok = grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL, grpc.StatusCode.OK

    def __init__(self, facts):
        ports = {"": facts["grpc"], "small": facts["small_grpc"], "other": facts["http"]}
        options = [("grpc.max_send_message_length", -1), ("grpc.enable_retries", 0)]
        self.channels = {name: grpc.insecure_channel(f"127.0.0.1:{port}", options) for name, port in ports.items()}

    def ask(self, body, port="", signal="traces", compression=None):
        call = self.channels[port].unary_unary(SERVICE.format(*SIGNALS[signal]))
        try:
            answer, done = call.with_call(body, timeout=20, compression=compression, wait_for_ready=True)
            return Answer(done.code(), {}, answer, None)
        except grpc.RpcError as error:
            trailers = dict(error.trailing_metadata() or ())
            details = trailers.get("grpc-status-details-bin")
            status = status_pb2.Status.FromString(details) if details else None
            return Answer(error.code(), trailers, b"", status)

    def packed(self, body, how, port=""):
        ways = {"gzip": grpc.Compression.Gzip, "deflate": grpc.Compression.Deflate}
        return self.ask(body, port, compression=ways[how])

    def signal(self, signal):
        return self.ask(b"", signal=signal)

    def hint(self, answer):
        return answer.retry_seconds()


class Suite:
    def __init__(self, facts):
        self.facts, self.doors, self.rows = facts, (Grpc(facts), Http(facts)), []
        self.output, self.read = pathlib.Path(facts["received"]), 0
        self.arrived()

    def script(self, *answers):
        connection = http.client.HTTPConnection("127.0.0.1", self.facts["hop"], timeout=10)
        connection.request("POST", "/script", json.dumps(answers))
        connection.getresponse().read()
        connection.close()

    def arrived(self):
        """The items that came to the next hop since the last time."""
        with self.output.open("rb") as output:
            output.seek(self.read)
            lines = output.read().splitlines(keepends=True)
        self.read += sum(map(len, lines))
        return [json.loads(line)["item"] for line in lines]

    def row(self, rule, claim, check, doors=None):
        """`check(door)` gives (holds, seen)."""
        outcomes = {}
        for door in doors or self.doors:
            try:
                holds, seen = check(door)
                outcomes[door.name] = None if holds else str(seen)[:500]
            except Exception as error:  # a check that ends early is a result
                outcomes[door.name] = f"{type(error).__name__}: {error}"
            self.arrived()
            self.script()
        self.rows.append([rule, claim, outcomes])

    def http(self, rule, claim, check):
        self.row(rule, claim, check, self.doors[1:])


def arrives(suite, answer, door, names):
    seen = [item.get("name") for item in suite.arrived()]
    return answer.code == door.ok and seen == names, (answer, seen)


def refused_by_hop(suite, door, status, **headers):
    suite.script({"status": status, "headers": {name.replace("_", "-"): value for name, value in headers.items()}})
    return door.ask(request(span()))


def size_rules(suite):
    big, medium = span(b"a" * (1100 << 10)), span(b"a" * (200 << 10))
    for how in ("gzip", "deflate"):
        suite.row("S1", f"{how} is taken", lambda door, how=how: arrives(suite, door.packed(request(span()), how), door, ["x"]))

    def final(door, answer):
        return answer.code == door.too_large and answer.status.code == 8 and door.hint(answer) is None, answer

    suite.row("S2", "over the limit is final, without a hint", lambda door: final(door, door.ask(request(big), "small")))
    claim = "the limit holds after decompression"
    suite.row("S2", claim, lambda door: final(door, door.packed(request(big), "gzip", "small")))
    suite.row("S2", "below the default limit of 64 MiB it is taken", lambda door: whole(suite, door, request(medium, big)))

    def short(door):
        text = status_pb2.Status(code=3, message="long " * (1 << 20)).SerializeToString()
        suite.script({"status": 400, "body": base64.b64encode(text).decode()})
        answer = door.ask(request(span()))
        return answer.code == door.final and len(answer.status.SerializeToString()) < 4 << 20, len(str(answer))

    suite.row("S3", "the answer stays below 4 MiB when the next hop's error does not", short)


def whole(suite, door, body):
    answer = door.ask(body)
    return answer.code == door.ok and len(suite.arrived()) == 2, answer


def success_rules(suite):
    def full(door):
        answer = door.ask(request(span()))
        return answer.code == door.ok and answer.body == b"" and answer.rejected() is None, answer

    suite.row("S4", "full success leaves partial_success unset", full)
    suite.row("S4", "zero bytes are an empty request, which succeeds", lambda door: (door.ask(b"").code == door.ok, "refused"))
    suite.http("S4", "{} is an empty request, which succeeds", lambda door: (door.ask(b"{}", kind=JSON).code == 200, "refused"))

    def partial(door):
        answer = door.ask(request(span(b"good"), b"\x0a\x7f\x01", span(b"deep", nested(80))))
        names = [item["name"] for item in suite.arrived()]
        return answer.code == door.ok and answer.rejected() == 2 and names == ["good"], (answer, names)

    suite.row("S5", "an item that cannot be read is rejected alone, by partial success", partial)

    def of_the_hop(door):
        suite.script({"status": 200, "body": base64.b64encode(field(1, b"\x08\x01" + field(2, b"too old"))).decode()})
        answer = door.ask(request(span(), span()))
        return answer.code == door.ok and answer.rejected() == 1, answer

    suite.row("S5", "what the next hop rejects is passed on with its count", of_the_hop)

    def unknown(door):
        body = request(span(more=field(99, b"new")), unknown=field(1500, b"from the future"))
        return arrives(suite, door.ask(body), door, ["x"])

    suite.row("S12", "fields nobody knows are ignored", unknown)


def failure_rules(suite):
    def final(door):
        answer = refused_by_hop(suite, door, 400)
        return answer.code == door.final and door.hint(answer) is None, answer

    suite.row("S6", "a final failure of the next hop is final here", final)

    def busy(door):
        answer = refused_by_hop(suite, door, 503, retry_after="2")
        return answer.code == door.busy and door.hint(answer) == 2, answer

    suite.row("S7", "a busy next hop is passed on with its seconds, in RetryInfo and Retry-After alike", busy)

    def hinted(door):
        answer = refused_by_hop(suite, door, 429)
        return answer.code == door.busy and (door.hint(answer) or 0) >= 1, answer

    suite.row("S7", "without seconds of its own it still comes with a hint", hinted)

    def undecodable(door):
        answer = door.ask(b"\x0a\xff\xff")
        return answer.code == door.bad and answer.has("BadRequest") and door.hint(answer) is None, answer

    suite.row("S7", "undecodable data is the client's fault, with BadRequest", undecodable)

    def packed_badly(door):
        answer = door.ask(b"not gzip", content_encoding="gzip")
        return answer.code == 400, answer

    suite.http("S8", "so are bytes that are not what Content-Encoding says", packed_badly)
    cases = {
        400: {"body": b"{"},
        404: {"body": b"{}", "path": "/v1/nothing"},
        405: {"body": b"{}", "method": "PUT"},
        413: {"body": b" " * (100 << 10), "port": "small"},
        415: {"body": b"{}", "content_encoding": "br"},
    }
    for code, how in cases.items():

        def has_status(door, code=code, how=how):
            for kind in (JSON, PROTOBUF):
                answer = door.ask(kind=kind, **{**how, "body": b"\x0a\xff" if (code, kind) == (400, PROTOBUF) else how["body"]})
                if answer.code != code or answer.headers["content-type"] != kind or not answer.status.message:
                    return False, answer
            return True, None

        suite.http("S8", f"{code} carries google.rpc.Status in the request's encoding", has_status)


def place_rules(suite):
    def same_kind(door):
        kinds = {"application/json; charset=utf-8": JSON, "Application/JSON": JSON, f"{PROTOBUF}; a=b": PROTOBUF}
        seen = {kind: door.ask(b"{}" if "json" in kind.lower() else b"", kind=kind) for kind in kinds}
        wrong = [answer for kind, answer in seen.items() if (answer.code, answer.headers["content-type"]) != (200, kinds[kind])]
        return not wrong, wrong

    suite.http("S9", "the answer's Content-Type is the request's, parameters tolerated", same_kind)
    for signal in SIGNALS:
        suite.row("S10", f"{signal} have their default place", lambda door, signal=signal: (door.signal(signal).code == door.ok, "refused"))
    suite.http("S10", "another path may be configured", lambda door: (door.ask(b"", "small", "/elsewhere").code == 200, "refused"))
    suite.row("S10", "either port answers either protocol", lambda door: arrives(suite, door.ask(request(span()), "other"), door, ["x"]))


def json_of(**fields):
    one = {"traceId": TRACE, "spanId": SPAN, "name": "x", **fields}
    return json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [one]}]}]}).encode()


def attribute(kind, text):
    """A span with one attribute whose value is this JSON text."""
    return json_of(attributes=["VALUE"]).replace(b'"VALUE"', f'{{"key":"k","value":{{"{kind}":{text}}}}}'.encode())


def identifier(hexadecimal):
    return base64.b64encode(bytes.fromhex(hexadecimal)).decode()


def json_rules(suite):
    def reads(claim, body, **expected):
        def check(door):
            answer = door.ask(body, kind=JSON)
            items = suite.arrived()
            holds = answer.code == 200 and len(items) == 1 and all(items[0].get(key) == value for key, value in expected.items())
            return holds, (answer, items)

        suite.http("JSON", claim, check)

    def refuses(claim, *bodies):
        def check(door):
            answers = [door.ask(body, kind=JSON) for body in bodies]
            wrong = [answer for answer in answers if answer.code != 400 or not answer.status.message]
            return not wrong and not suite.arrived(), wrong

        suite.http("JSON", claim, check)

    ids = {"traceId": identifier(TRACE), "spanId": identifier(SPAN), "parentSpanId": identifier(SPAN)}
    upper = json_of(traceId=TRACE.upper(), spanId=SPAN.upper(), parentSpanId=SPAN.upper())
    reads("ids are hex in either case", upper, **ids)
    link = {"traceId": TRACE.upper(), "spanId": SPAN}
    reads("in links too", json_of(links=[link]), links=[{"traceId": ids["traceId"], "spanId": ids["spanId"]}])
    refuses("wrong lengths and digits are refused", json_of(traceId=TRACE[2:]), json_of(spanId="zz" + SPAN[2:]))
    for kind, text, value in VALUES:
        reads(f"{kind} {text} is {json.dumps(value)}", attribute(kind, text), attributes=[{"key": "k", "value": value}])
    for text in ('"1.5"', "1e40", '"9223372036854775808"', "true", '"0x10"'):
        refuses(f"intValue {text} is refused", attribute("intValue", text))
    refuses('bytesValue "!" is refused', attribute("bytesValue", '"!"'))
    reads("64-bit numbers are strings or numbers", json_of(startTimeUnixNano="1", endTimeUnixNano=2), startTimeUnixNano="1", endTimeUnixNano="2")
    reads("enumerations are numbers", json_of(kind=3, status={"code": 2}), kind="SPAN_KIND_CLIENT", status={"code": "STATUS_CODE_ERROR"})
    reads("and, beyond the rule, the names the Collector reads", json_of(kind="SPAN_KIND_CLIENT"), kind="SPAN_KIND_CLIENT")
    reads("keys are lowerCamelCase and, beyond the rule, snake_case", json_of(trace_state="a=b"), traceState="a=b")
    reads("null is unset", json_of(parentSpanId=None, attributes=None, status=None), parentSpanId=None, attributes=None)
    twice = json_of().replace(b'"name": "x"', b'"name": "x", "name": "y"')
    reads("of a key written twice the last one holds", twice, name="y")
    unknown = {"a": [{"b": [[None, True, {"c": "}"}]]}], "d": 1e300}
    reads("unknown keys with anything in them are skipped", json_of(**{"from the future": unknown}), name="x")
    lists = lambda levels: b'{"arrayValue":{"values":[' * levels + b'{"stringValue":"x"}' + b"]}}" * levels
    deep = lambda levels: json_of(attributes=["V"]).replace(b'"V"', b'{"key":"k","value":' + lists(levels) + b"}")
    reads("lists may be 40 deep (what the judge's decoder reads)", deep(40), name="x")
    refuses("80 are too deep, and so is anything 100,000 deep", deep(80), b"[" * 100_000, b'{"a":' * 100_000)
    refuses("text after the value, and half a value", json_of() + b"x", json_of()[:-1], b"")


VALUES = (
    ("intValue", "7", {"intValue": "7"}),
    ("intValue", '"-9223372036854775808"', {"intValue": str(-(2**63))}),
    ("intValue", "9223372036854775807", {"intValue": str(2**63 - 1)}),
    ("intValue", "1e3", {"intValue": "1000"}),
    ("intValue", '"1.0"', {"intValue": "1"}),
    ("doubleValue", '"NaN"', {"doubleValue": "NaN"}),
    ("doubleValue", '"-Infinity"', {"doubleValue": "-Infinity"}),
    ("doubleValue", "-0.0", {"doubleValue": -0.0}),
    ("doubleValue", '"1.5"', {"doubleValue": 1.5}),
    ("doubleValue", "5e-324", {"doubleValue": 5e-324}),
    ("bytesValue", '"AP8="', {"bytesValue": "AP8="}),
    ("bytesValue", '"AP8"', {"bytesValue": "AP8="}),
    ("bytesValue", '"_-8="', {"bytesValue": "/+8="}),
    ("boolValue", "false", {"boolValue": False}),
    ("stringValue", '"\\ud83d\\ude00 \\u0000"', {"stringValue": "\U0001f600 \0"}),
)


def main():
    suite = Suite(json.loads(sys.argv[1]))
    for part in (size_rules, success_rules, failure_rules, place_rules, json_rules):
        part(suite)
    print(json.dumps(suite.rows))


if __name__ == "__main__":
    main()
