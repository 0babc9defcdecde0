"""Requests of OTLP/JSON as the recorded tables have them: attributes by key, and what changed by its path."""

import copy
import json


def canonical(tree):
    """Attributes by key; numbers as they are."""
    if isinstance(tree, list):
        if tree and all(isinstance(one, dict) and "key" in one for one in tree):
            return {one["key"]: canonical(one.get("value", {})) for one in tree}
        return [canonical(one) for one in tree]
    if isinstance(tree, dict):
        return {key: canonical(value) for key, value in tree.items()}
    return tree


def changes(before, after, path=()):
    """Paths and their new values; a path alone is gone. A list may grow at its end; else one of another length is changed as a whole."""
    if before == after:
        return []
    if isinstance(before, dict) and isinstance(after, dict):
        gone = [[[*path, key]] for key in before if key not in after]
        new = [[[*path, key], after[key]] for key in after if key not in before]
        both = [change for key in after if key in before for change in changes(before[key], after[key], (*path, key))]
        return gone + new + both
    if isinstance(before, list) and isinstance(after, list) and (len(before) == len(after) or before and before == after[: len(before)]):
        grown = [[[*path, at], new] for at, new in enumerate(after) if at >= len(before)]
        return [change for at, (old, new) in enumerate(zip(before, after)) for change in changes(old, new, (*path, at))] + grown
    return [[list(path), after]]


def patched(tree, path, value):
    """The tree with one path set, or taken out when there is no value."""
    if not path:
        return canonical(value[0])
    at = tree
    for depth, step in enumerate(path[:-1]):
        if isinstance(step, str):
            if not isinstance(at, dict):
                return tree
            at = at.setdefault(step, {})
            if isinstance(at, list) and isinstance(path[depth + 1], str):
                return tree
        else:
            at = at[step]
    last = path[-1]
    if value and isinstance(at, list) and last == len(at):
        at.append(canonical(value[0]))
    elif value:
        at[last] = canonical(value[0])
    elif isinstance(at, dict):
        at.pop(last, None)
    return tree


def applied(before, answer):
    """What the request became."""
    after = copy.deepcopy(before)
    for change in answer["to"]:
        after = patched(after, change[0], change[1:])
    return after


def in_order(tree):
    """Points by what is in them: a Collector gathers them in the order of a Go map, which is chance."""
    if isinstance(tree, list):
        return [in_order(one) for one in tree]
    if not isinstance(tree, dict):
        return tree
    sort = lambda key, value: sorted(value, key=lambda one: json.dumps(one, sort_keys=True)) if key == "dataPoints" else value  # noqa: E731
    return {key: sort(key, in_order(value)) for key, value in tree.items()}


def said(tree):
    """What is not said is the same as an empty value."""
    if isinstance(tree, dict):
        kept = {key: said(value) for key, value in tree.items()}
        return {key: value for key, value in kept.items() if value not in ({}, [], "", None) or key.endswith("Value")}
    return [said(one) for one in tree] if isinstance(tree, list) else tree


def same(before, kept, live, text):
    """Whether two answers say the same of this request."""
    if isinstance(kept, dict) and isinstance(live, dict) and "to" in kept and "to" in live:
        one, other = said(applied(before, kept)), said(applied(before, live))
        if "aggregate_on" in text:
            one, other = in_order(one), in_order(other)
        return one == other and kept.get("failed") == live.get("failed")
    if isinstance(kept, dict) and "other" in kept:
        return isinstance(live, dict) and "other" in live
    return in_numbers(kept) == in_numbers(live)


def in_numbers(tree):
    """Doubles as numbers, however many digits they are written with."""
    if isinstance(tree, list):
        return [in_numbers(one) for one in tree]
    if not isinstance(tree, dict):
        return tree
    return {key: repr(float(value)) if key == "double" else in_numbers(value) for key, value in tree.items()}
