"""Texts of OTTL and patterns that are made up: most of them mean something, all of them by a seed alone."""

import json

# Attributes of the first log record of tests/ottl/oracle/logs.json, by what they are.
NAMES = {
    "text": ["s", "e", "num", "fl", "word", "which", "pat", "hex", "ip", "net", "kv", "json", "csv", "ts", "url", "http.method", "http.path"],
    "int": ["i", "one", "at"],
    "double": ["d", "one.d", "big", "small"],
    "bool": ["t", "f"],
    "bytes": ["y"],
    "list": ["l", "ls", "lm", "ln", "le"],
    "map": ["m", "me"],
    "nil": ["none", "z"],
}
LITERALS = {
    "text": ["", "a", "Hello, W\u00f6rld", "operationA", "10.1.2.3", "k=v x=y", "a,b,c", "FooBar-baz_1", "  pad  ", "1.5", "-3", "0x1F", "true"],
    "int": ["0", "1", "-7", "42", "9007199254740993"],
    "double": ["0.0", "1.0", "-2.5", "3.75"],
    "bool": ["true", "false"],
    "bytes": ["0x01", "0x0102030405060708", "0x0102030405060708090a0b0c0d0e0f10"],
    "list": ["[]", "[1, 2, 3]", '["b", "a"]'],
    "nil": ["nil"],
}
PATHS = {
    "text": ["log.severity_text", "log.event_name", "scope.name", "scope.version", "resource.schema_url", "scope.schema_url", "log.trace_id.string",
             "log.span_id.string", "log.body.string"],
    "int": ["log.severity_number", "log.flags", "log.time_unix_nano", "log.dropped_attributes_count", "scope.dropped_attributes_count"],
    "map": ["resource.attributes", "scope.attributes"],
    "time": ["log.time", "log.observed_time"],
}
TEXT, INT, DOUBLE, ANY, LIST, MAP, TIME, SPAN, BOOL = "text", "int", "double", "any", "list", "map", "time", "span", "bool"
# What a function makes, its name, what its arguments are. A list of texts stands for one of them.
FUNCTIONS = [
    (BOOL, "IsString", [ANY]), (BOOL, "IsInt", [ANY]), (BOOL, "IsDouble", [ANY]), (BOOL, "IsBool", [ANY]), (BOOL, "IsMap", [ANY]), (BOOL, "IsList", [ANY]),
    (BOOL, "IsEmpty", [ANY]), (BOOL, "IsMatch", [ANY, ['"^H"', '"[0-9]+"', '"l{2}"']]), (BOOL, "HasPrefix", [TEXT, TEXT]), (BOOL, "HasSuffix", [TEXT, TEXT]),
    (BOOL, "IsInCIDR", [TEXT, ['["10.0.0.0/8"]', '["192.168.0.0/16", "::/0"]']]), (BOOL, "IsValidLuhn", [ANY]), (BOOL, "ContainsValue", [LIST, ANY]),
    (BOOL, "Bool", [ANY]), (INT, "Int", [ANY]), (DOUBLE, "Double", [ANY]), (TEXT, "String", [ANY]), (INT, "Len", [ANY]),
    (INT, "Index", [ANY, ANY]), (INT, "ParseInt", [TEXT, ["2", "8", "10", "16", "0"]]), (INT, "FNV", [TEXT]),
    (TEXT, "Concat", [['["a", log.attributes["s"]]', '[log.attributes["i"], 1, true]', "[]"], ['"-"', '""']]),
    (TEXT, "Format", [
        ['"%v"', '"%d"', '"%s|%5.2f"', '"%q"', '"%[2]v %[1]v"', '"%[1]d%d"', '"%[3]v"', '"%*v|"', '"%-*v|"', '"%.*v|"', '"%[1]*[2]v|"', '"%[2]*.[1]*[1]v"', '"%[1"'],
        ['[log.attributes["i"]]', '[log.attributes["s"], 1.5]', "[]", '[7, log.attributes["s"]]', '[-4, 2.5, 3]', '[2, 3, log.attributes["s"]]'],
    ]),
    (TEXT, "ConvertCase", [TEXT, ['"lower"', '"upper"', '"snake"', '"camel"']]), (TEXT, "ToLowerCase", [TEXT]), (TEXT, "ToUpperCase", [TEXT]),
    (TEXT, "ToCamelCase", [TEXT]), (TEXT, "ToSnakeCase", [TEXT]), (TEXT, "Trim", [TEXT]), (TEXT, "Trim", [TEXT, ['"a"', '" "']]),
    (TEXT, "TrimPrefix", [TEXT, TEXT]), (TEXT, "TrimSuffix", [TEXT, TEXT]), (TEXT, "Substring", [TEXT, INT, INT]), (LIST, "Split", [TEXT, ['","', '" "', '"a"']]),
    (TEXT, "Base64Encode", [TEXT]), (TEXT, "SHA256", [TEXT]), (TEXT, "SHA1", [TEXT]), (TEXT, "SHA512", [TEXT]), (TEXT, "MD5", [TEXT]), (TEXT, "Hex", [ANY]),
    (TEXT, "XXH3", [TEXT]), (TEXT, "XXH128", [TEXT]), (TEXT, "Murmur3Hash", [TEXT]), (TEXT, "Murmur3Hash128", [TEXT]),
    (TEXT, "CommunityID", [TEXT, INT, TEXT, INT]), (TEXT, "CommunityID", [['"10.0.0.1"', '"::1"'], ["80", "443"], ['"10.0.0.2"', 'log.attributes["ip"]'], INT, ['"UDP"']]),
    (MAP, "ParseJSON", [TEXT]), (MAP, "ParseKeyValue", [TEXT]), (MAP, "ParseCSV", [TEXT, ['"a,b,c"', '"x"']]), (MAP, "URL", [TEXT]),
    (MAP, "ExtractPatterns", [TEXT, ['"(?P<w>\\\\w+)"', '"^(?P<a>.)(?P<b>.*)$"']]), (MAP, "ParseCEF", [TEXT]), (MAP, "ParseLEEF", [TEXT]), (MAP, "ParseCLF", [TEXT]),
    (LIST, "Sort", [LIST]), (LIST, "Sort", [LIST, ['"desc"']]), (LIST, "Keys", [["resource.attributes", 'log.attributes["m"]']]),
    (TEXT, "ToKeyValueString", [["resource.attributes", 'log.attributes["m"]'], ['"="'], ['" "'], ["true"]]),
    (ANY, "Coalesce", [['[log.attributes["none"], log.attributes["i"]]', '[nil, log.attributes["s"]]']]),
    (TIME, "Unix", [["0", "1", "-7", "1700000000", 'log.attributes["one"]', "log.severity_number"]]), (TIME, "Time", [['log.attributes["ts"]', '"2024-02-29T01:02:03Z"'], ['"%Y-%m-%dT%H:%M:%S%z"', '"%Y-%m-%dT%H:%M:%SZ"']]),
    (TIME, "TruncateTime", [TIME, SPAN]), (TEXT, "FormatTime", [TIME, ['"%Y-%m-%d %H:%M:%S"', '"%b %e, %I:%M %p"', '"%j %A"']]),
    (INT, "UnixNano", [TIME]), (INT, "UnixMilli", [TIME]), (INT, "Year", [TIME]), (INT, "Day", [TIME]), (INT, "Hour", [TIME]), (INT, "Weekday", [TIME]),
    (SPAN, "Duration", [['"1.5s"', '"3h2m"', '"100ms"', '"-1us"']]), (DOUBLE, "Seconds", [SPAN]), (INT, "Milliseconds", [SPAN]), (INT, "Nanoseconds", [SPAN]),
]
KINDS = [TEXT, TEXT, TEXT, INT, INT, DOUBLE, BOOL, LIST, MAP, TIME, "bytes", "nil"]


def leaf(rng, kind):
    if kind == ANY:
        kind = rng.choice(KINDS)
    choices = [f"log.attributes[{json.dumps(name)}]" for name in NAMES.get(kind, [])] + PATHS.get(kind, [])
    literals = LITERALS.get(kind, [])
    if kind == TEXT:
        literals = [json.dumps(text, ensure_ascii=False) for text in literals]
    if kind == SPAN:
        return 'Duration("1h30m")'
    pool = literals if literals and (not choices or rng.random() < 0.4) else choices or literals
    return rng.choice(pool)


def value(rng, kind, depth):
    """An expression of this kind; sometimes, on purpose, of another."""
    if isinstance(kind, list):
        return rng.choice(kind)
    if rng.random() < 0.07:
        kind = ANY
    fitting = [function for function in FUNCTIONS if kind in (ANY, function[0])]
    if depth > 0 and fitting and rng.random() < 0.6:
        _, name, arguments = rng.choice(fitting)
        return f"{name}({', '.join(value(rng, argument, depth - 1) for argument in arguments)})"
    if depth > 0 and kind in (INT, DOUBLE) and rng.random() < 0.3:
        return f"{leaf(rng, kind)} {rng.choice('+-*')} {leaf(rng, kind)}"
    return leaf(rng, kind)


def condition(rng, depth):
    if depth > 0 and rng.random() < 0.3:
        joined = f"{condition(rng, depth - 1)} {rng.choice(['and', 'or'])} {condition(rng, depth - 1)}"
        return f"({joined})" if rng.random() < 0.5 else joined
    if rng.random() < 0.15:
        return f"not ({condition(rng, 0)})"
    if rng.random() < 0.3:
        return value(rng, [f for f in ('IsMatch(log.attributes["s"], "^H")', 'IsString(log.body)', 'HasPrefix(log.event_name, "e")')], 1)
    kind = rng.choice(KINDS)
    other = kind if rng.random() < 0.8 else ANY
    return f"{value(rng, kind, 1)} {rng.choice(['==', '!=', '<', '<=', '>', '>='])} {value(rng, other, 1)}"


def statement(rng):
    name = json.dumps(rng.choice(["s", "new", "m", "l", "i", "none"]))
    target = f"log.attributes[{name}]"
    call = rng.choice([
        lambda: f"set({target}, {value(rng, rng.choice([TEXT, INT, DOUBLE, BOOL, LIST, 'bytes']), 2)})",
        lambda: f"set(log.severity_text, {value(rng, TEXT, 2)})",
        lambda: f"set(resource.schema_url, {value(rng, TEXT, 1)})",
        lambda: f"append({target}, {value(rng, rng.choice([TEXT, INT]), 1)})",
        lambda: f"delete_key(log.attributes, {value(rng, TEXT, 1)})",
        lambda: f"keep_keys(log.attributes, [{leaf(rng, TEXT)}, {leaf(rng, TEXT)}])",
        lambda: f"truncate_all(log.attributes, {rng.randint(1, 20)})",
        lambda: f"limit(log.attributes, {rng.randint(1, 20)}, [])",
        lambda: f'replace_pattern({target}, "[a-l]+", {leaf(rng, TEXT)})',
        lambda: f'replace_match({target}, "*", {leaf(rng, TEXT)})',
        lambda: f'replace_all_patterns(log.attributes, "value", "[0-9]", {leaf(rng, TEXT)})',
        lambda: f'merge_maps(log.attributes, {value(rng, MAP, 1)}, {rng.choice([chr(34) + how + chr(34) for how in ("insert", "update", "upsert")])})',
        lambda: f"delete_index({target}, {rng.randint(0, 3)})",
        lambda: "stringify_all(log.attributes)",
    ])()
    return f"{call} where {condition(rng, 1)}" if rng.random() < 0.4 else call


def questions(rng, count):
    """Rows without answers: context, kind, item, text."""
    made = {}
    while len(made) < count:
        draw = rng.random()
        if draw < 0.5:
            row = ["log", "v", 0, value(rng, rng.choice(KINDS), 3)]
        elif draw < 0.75:
            row = ["log", "c", rng.choice([0, 0, 1, 2, 4]), condition(rng, 2)]
        else:
            row = ["log", "s", 0, statement(rng)]
        made.setdefault(tuple(row[1:]), row)
    return list(made.values())


ATOMS = ["a", "b", "c", ".", "\\d", "\\w", "\\s", "\\D", "\\W", "[a-c]", "[^b]", "[[:alpha:]]", "\\.", "-", "_", " ", "\u00e9", "(?i:B)", "[]a]", "[a\\]-]", "\\Q.+\\E", "x{2}", "{", "}"]
ENDS = ["", "", "", "*", "+", "?", "{2}", "{1,}", "{0,2}", "*?", "+?", "??"]


def pattern(rng, depth):
    parts = []
    for _ in range(rng.randint(1, 4)):
        if depth > 0 and rng.random() < 0.25:
            opening = rng.choice(["(", "(?:", "(?P<n>" if depth == 2 else "("])
            atom = f"{opening}{pattern(rng, depth - 1)})"
        else:
            atom = rng.choice(ATOMS)
        parts.append(atom + rng.choice(ENDS))
    text = "".join(parts)
    if rng.random() < 0.2:
        text = f"{text}|{rng.choice(ATOMS)}"
    return rng.choice(["", "", "", "^", "\\b"]) + text + rng.choice(["", "", "", "$", "\\b"]) if depth == 2 else text


def patterns(rng, count):
    """Pairs of a pattern and a text."""
    letters = "aabbcc.-_ 12xX\u00e9\u00c9{}]"
    pairs = {}
    while len(pairs) < count:
        text = "".join(rng.choice(letters) for _ in range(rng.randint(0, 12)))
        pairs.setdefault((pattern(rng, 2), text))
    return [list(pair) for pair in pairs]
