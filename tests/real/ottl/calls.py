"""Every function as it is meant to be called, and with each argument in turn nil, absent and of other kinds: rows for `suite.py --record`.

Usage: python3 tests/real/ottl/calls.py > rows.jsonl
"""

import json
import sys

# Arguments one by one, so that each can be exchanged.
CONVERTERS = {
    "IsString": ['"a"'], "IsInt": ["1"], "IsDouble": ["1.5"], "IsBool": ["true"], "IsMap": ['log.attributes["m"]'], "IsList": ["[1]"],
    "IsEmpty": ['""'], "IsMatch": ['"abc"', '"^a"'], "IsInCIDR": ['"10.1.2.3"', '["10.0.0.0/8"]'], "IsValidLuhn": ['"17893729974"'],
    "Int": ['"42"'], "Double": ['"1.5"'], "Bool": ['"true"'], "String": ["5"], "Log": ["1.0"], "ParseInt": ['"ff"', "16"],
    "Concat": ['["a", "b"]', '"-"'], "Format": ['"%d-%s"', '[1, "a"]'], "ConvertCase": ['"aB"', '"snake"'], "ToLowerCase": ['"AB"'],
    "ToUpperCase": ['"ab"'], "ToCamelCase": ['"a_b"'], "ToSnakeCase": ['"aB"'], "Trim": ['" a "', '" "'], "TrimPrefix": ['"abc"', '"a"'],
    "TrimSuffix": ['"abc"', '"c"'], "HasPrefix": ['"abc"', '"a"'], "HasSuffix": ['"abc"', '"c"'], "Substring": ['"abcdef"', "1", "3", "true"],
    "Split": ['"a,b"', '","'], "Len": ['"abc"'], "Index": ['"abc"', '"c"'], "ExtractPatterns": ['"k=v"', '"(?P<key>[a-z])=(?P<value>.)"'],
    "ExtractGrokPatterns": ['"10.1.2.3 x"', '"%{IP:client}"', "true", '["A=b"]'], "ParseJSON": ['"{\\"a\\":1}"'],
    "ParseKeyValue": ['"a:1;b:2"', '":"', '";"'], "ToKeyValueString": ['log.attributes["m"]', '":"', '";"', "true"],
    "ParseCSV": ['"1;2"', '"a,b"', '";"', '","', '"strict"'], "ParseSeverity": ['"err"', '{"error": [{"equals": ["err"]}]}'],
    "URL": ['"https://a.b/c?d=e"'], "Base64Encode": ['"abc"', '"base64-url"'], "Decode": ['"YWJj"', '"base64"'], "SHA256": ['"a"'], "SHA512": ['"a"'],
    "SHA1": ['"a"'], "MD5": ['"a"'], "FNV": ['"a"'], "Murmur3Hash": ['"a"'], "Murmur3Hash128": ['"a"'], "XXH3": ['"a"'], "XXH128": ['"a"'],
    "CommunityID": ['"1.2.3.4"', "1", '"5.6.7.8"', "2", '"UDP"', "3"], "ParseCEF": ['"CEF:0|a|b|c|d|e|f|k=v"'], "ParseLEEF": ['"LEEF:1.0|a|b|c|d|k=v"'],
    "ParseELF": ['"#Version: 1.0\\n#Fields: a\\n1"'], "ParseCLF": ['"h - - [d] \\"G / H\\" 200 5"', '"clf"'], "Hex": ['"a"'], "Keys": ['log.attributes["m"]'],
    "Values": ['log.attributes["m"]'], "ContainsValue": ["[1, 2]", "2"], "Coalesce": ["[nil, 1]"], "Sort": ["[2, 1]", '"desc"'],
    "SliceToMap": ['log.attributes["lo"]', '["name"]', '["value"]'], "TraceID": ["0x0102030405060708090a0b0c0d0e0f10"], "SpanID": ["0x0102030405060708"],
    "ProfileID": ["0x0102030405060708090a0b0c0d0e0f10"], "Duration": ['"1h"'], "Time": ['"2024-02-29"', '"%Y-%m-%d"', '"Europe/Berlin"', '"en-US"'],
    "FormatTime": ["Unix(0)", '"%Y-%m-%d"'], "TruncateTime": ["Unix(90)", 'Duration("1m")'], "Unix": ["1", "2"], "UnixNano": ["Unix(1)"], "UnixMicro": ["Unix(1)"],
    "UnixMilli": ["Unix(1)"], "UnixSeconds": ["Unix(1)"], "Nanoseconds": ['Duration("1h")'], "Microseconds": ['Duration("1h")'], "Milliseconds": ['Duration("1h")'],
    "Seconds": ['Duration("1h")'], "Minutes": ['Duration("1h")'], "Hours": ['Duration("1h")'], "Year": ["Unix(0)"], "Month": ["Unix(0)"], "Day": ["Unix(0)"],
    "Weekday": ["Unix(0)"], "Hour": ["Unix(0)"], "Minute": ["Unix(0)"], "Second": ["Unix(0)"], "Nanosecond": ["Unix(0, 5)"],
}
EDITORS = {
    "set": ['log.attributes["new"]', "1"], "clear": ['log.attributes["s"]'], "append": ['log.attributes["l"]', "1", "[2, 3]"],
    "delete_key": ["log.attributes", '"s"'], "delete_matching_keys": ["log.attributes", '"^http"'], "delete_index": ['log.attributes["l"]', "0", "2"],
    "keep_keys": ["log.attributes", '["s"]'], "keep_matching_keys": ["log.attributes", '"^http"'], "limit": ["log.attributes", "5", '["s"]'],
    "truncate_all": ["log.attributes", "6", "true", '".."'], "stringify_all": ["log.attributes"], "flatten": ['log.attributes["m"]', '"p"', "2", "true"],
    "merge_maps": ["log.attributes", 'log.attributes["m"]', '"upsert"'], "replace_match": ['log.attributes["http.path"]', '"/h*"', '"x"', "SHA1", '"h:%s"'],
    "replace_pattern": ['log.attributes["s"]', '"l+"', '"x"', "SHA1", '"h:%s"'], "replace_all_matches": ["log.attributes", '"/h*"', '"x"', "SHA1", '"h:%s"'],
    "replace_all_patterns": ["log.attributes", '"value"', '"l+"', '"x"', "SHA1", '"h:%s"'],
}
# Those that know only metrics and spans, as groups of a processor: the request, the context, and what another kind stands for there.
METRICS = ["nil", 'metric.metadata["none"]', "metric.name", '"text"', "7", "1.5", "true", '["a", 1]', '{"a": 1}']
SPANS = ["nil", 'span.attributes["none"]', "span.name", '"text"', "7", "1.5", "true", '["a", 1]', '{"a": 1}']
POINTS = [other.replace("metric.metadata", "datapoint.attributes") for other in METRICS]
GROUPS = {
    ("metrics", "metric"): (METRICS, {
        "convert_sum_to_gauge": [], "convert_gauge_to_sum": ['"delta"', "true"], "scale_metric": ["10.0", '"kWh"'],
        "aggregate_on_attributes": ['"sum"', '["k"]'], "aggregate_on_attribute_value": ['"sum"', '"k"', '["a", "b"]', '"c"'],
        "convert_exponential_histogram_to_histogram": ['"upper"', "[0.0, 1.0, 2.0]"], "copy_metric": ['"copy"', '"words"', '"By"'],
        "extract_count_metric": ["true", '".n"'], "extract_sum_metric": ["true", '".s"'], "extract_percentile_metric": ["50.0", '".p"'],
        "convert_summary_quantile_val_to_gauge": ['"q"', '".v"'],
    }),
    ("metrics", "datapoint"): (POINTS, {
        "convert_summary_count_val_to_sum": ['"delta"', "true", '".n"'], "convert_summary_sum_val_to_sum": ['"delta"', "true", '".s"'],
        "merge_histogram_buckets": ["1.5", '"merge_bound"'],
    }),
    ("traces", "span"): (SPANS, {"set_semconv_span_name": ['"1.37.0"', '"before"']}),
}
OTHERS = ["nil", 'log.attributes["none"]', 'log.attributes["i"]', 'log.attributes["s"]', 'log.attributes["m"]', 'log.attributes["l"]', '"text"', "7", "true", "1.5"]


def called(name, arguments, others):
    """The function as it is meant, without arguments, with one too many, and with each exchanged for each of the others."""
    yield f"{name}({', '.join(arguments)})"
    yield f"{name}()"
    yield f"{name}({', '.join([*arguments, '1'])})"
    for at in range(len(arguments)):
        for other in others:
            yield f"{name}({', '.join([*arguments[:at], other, *arguments[at + 1 :]])})"


def rows():
    for kind, functions in (("v", CONVERTERS), ("s", EDITORS)):
        for name, arguments in functions.items():
            yield from (["log", kind, 0, text] for text in called(name, arguments, OTHERS))
    for (request, context), (others, functions) in GROUPS.items():
        for name, arguments in functions.items():
            for text in called(name, arguments, others):
                # In a list it runs on its own copies too, and a Collector would do so without end.
                if name == "copy_metric":
                    yield [context, "s", 0, text]
                else:
                    yield [request, "t", 0, json.dumps([{"context": context, "statements": [text]}])]


if __name__ == "__main__":
    sys.stdout.writelines(json.dumps(row) + "\n" for row in rows())
