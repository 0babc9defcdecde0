"""Sums over sampled documents, asked of Elasticsearch itself: by `sampling.weight`, and by the thresholds of trace states.

Knows the suite's lab and nothing of how podgate samples: what it expects follows from what it sent.
"""

import json
import math
import random
import re

TRACES, SEED, PERCENT = 8_000, 18, 10
SERVICES = ("cart", "shop", "mail")
# Standard errors beyond which it is no chance: a normal deviation is beyond in one of 500,000 cases, and a run has twenty.
OFF_MAX = 4.75
SPANS_MAX = 3
INDEX = "traces-generic.otel-default"
# Of traces their roots are counted, of spans all.
ROOTS = {"bool": {"must_not": {"exists": {"field": "parent_span_id"}}}}
ALL = {"match_all": {}}
WEIGHT, SERVICE = "attributes.sampling.weight", "resource.attributes.service.name"
SAMPLER = {
    "decision_wait": "1s",
    "podgate": {"weights": "th", "weight_attributes": True},
    "policies": [
        {"name": "errors", "type": "status_code", "status_code": {"status_codes": ["ERROR"]}},
        {"name": "some", "type": "probabilistic", "probabilistic": {"sampling_percentage": PERCENT}},
    ],
}


class Trace:
    """One of the whole. Of `mail` a head sampler lets half pass, by threshold."""

    def __init__(self, rng, number):
        self.id = rng.randbytes(16).hex()
        self.service, self.spans = SERVICES[number % 3], 1 + number % SPANS_MAX
        self.failed = rng.random() < 0.04
        self.state = "ot=th:8" if self.service == "mail" else ""
        self.comes = self.service != "mail" or int(self.id[18:], 16) >= 1 << 55

    def json(self):
        start = 1_790_000_000_000_000_000
        for number in range(1, self.spans + 1):
            yield {
                "traceId": self.id, "spanId": f"{int(self.id[:8], 16):08x}{number:08x}", "name": "work", "kind": 2,
                "parentSpanId": f"{int(self.id[:8], 16):08x}{1:08x}" if number > 1 else "", "traceState": self.state,
                "startTimeUnixNano": str(start), "endTimeUnixNano": str(start + 1_000_000),
                "status": {"code": 2} if self.failed and number == 1 else {},
            }


def requests(traces, size=500):
    for first in range(0, len(traces), size):
        groups = []
        for service in SERVICES:
            spans = [span for trace in traces[first : first + size] if trace.comes and trace.service == service for span in trace.json()]
            attributes = [{"key": "service.name", "value": {"stringValue": service}}]
            groups.append({"resource": {"attributes": attributes}, "scopeSpans": [{"spans": spans}]})
        yield json.dumps({"resourceSpans": groups})


def by_attribute(query):
    """The sum of the weights of all documents that meet the query, and of each service."""
    weight = {"sum": {"field": WEIGHT}}
    return {"size": 0, "query": query, "aggs": {"sum": weight, "services": {"terms": {"field": SERVICE}, "aggs": {"sum": weight}}}}


def by_threshold(query):
    """How many documents there are with each trace state."""
    return {"size": 0, "query": query, "aggs": {"states": {"terms": {"field": "trace_state", "size": 1000}}}}


def weight_of(state):
    """1/P by the threshold: its digits are those behind the point of the probability to be left out."""
    digits = re.search(r"(?:^|,)ot=(?:[^,]*;)?th:([0-9a-f]{1,14})", state).group(1)
    return 2**56 / (2**56 - int(digits.ljust(14, "0"), 16))


class Judge:
    """Asks the node and compares with the truth."""

    def __init__(self, suite, node, traces):
        self.suite, self.node, self.traces = suite, node, traces

    def ask(self, body):
        answer = self.node.ask("POST", f"/{INDEX}/_search", body)
        if "aggregations" not in answer:
            raise ValueError(f"{json.dumps(body)}: {answer}")
        return answer["aggregations"]

    def near(self, what, estimate, truth, states):
        """`states` are the documents by trace state. Spans of one trace stand and fall together, so theirs is at most the error
        times the root of how many there are."""
        each = SPANS_MAX if "spans" in what else 1
        variance = sum(each * count * weight_of(state) * (weight_of(state) - 1) for state, count in states.items())
        off = (estimate - truth) / max(math.sqrt(variance), 1e-6 * truth)
        self.suite.check(f"{what}: {estimate:.0f} of {truth}, {off:+.2f} standard errors", abs(off) < OFF_MAX)

    def states(self, query):
        return {bucket["key"]: bucket["doc_count"] for bucket in self.ask(by_threshold(query))["states"]["buckets"]}

    def judge(self, what, query, value):
        states = self.states(query)
        truth = sum(value(trace) for trace in self.traces)
        found = self.ask(by_attribute(query))
        self.near(f"{what} by sampling.weight", found["sum"]["value"], truth, states)
        self.near(f"{what} by th", sum(count * weight_of(state) for state, count in states.items()), truth, states)
        for bucket in found["services"]["buckets"]:
            both = {"bool": {"must": [query, {"term": {SERVICE: bucket["key"]}}]}}
            truth = sum(value(trace) for trace in self.traces if trace.service == bucket["key"])
            self.near(f"{what} of {bucket['key']} by sampling.weight", bucket["sum"]["value"], truth, self.states(both))


def sums(lab, suite):
    """At 10 % kept, sums of the weights that queries find are the truth's, by attribute and by threshold, in each stratum"""
    node = lab.node()
    gateway = lab.gateway(node, processors={"tail_sampling": SAMPLER})
    rng = random.Random(SEED)
    traces = [Trace(rng, number) for number in range(TRACES)]
    for body in requests(traces):
        gateway.send("/v1/traces", body)
    sheet = gateway.settled()
    node.ask("POST", f"/{INDEX}/_refresh")
    kind = node.ask("GET", f"/{INDEX}/_mapping/field/{WEIGHT}")
    kinds = {one["type"] for index in kind.values() for field in index["mappings"].values() for one in field["mapping"].values()}
    suite.equal("the weight is mapped as a number with a fraction", kinds, {"float"})
    suite.figure(f"{len(traces)} traces, {sum(trace.comes for trace in traces)} of them sent; of {sheet['received']} spans {sheet['delivered']} kept")
    judge = Judge(suite, node, traces)
    judge.judge("traces", ROOTS, lambda trace: 1)
    judge.judge("spans", ALL, lambda trace: trace.spans)
    failed = {"bool": {"must": [ROOTS, {"term": {"status.code": "Error"}}]}}
    judge.judge("failed traces", failed, lambda trace: trace.failed)
    plain = {"bool": {"must": [ROOTS], "must_not": {"term": {"status.code": "Error"}}}}
    judge.judge("traces without an error", plain, lambda trace: not trace.failed)
    gateway.stop()
