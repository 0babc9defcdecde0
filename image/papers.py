"""What goes along with the binary: its bill of materials (CycloneDX 1.5) and the licences of everything in it.

From `cargo metadata` of the target, normal and build dependencies that are linked; nothing of the machine goes in.
"""

import json
import pathlib
import subprocess
import uuid

ROOT = pathlib.Path(__file__).resolve().parent.parent
NAMED = ("license", "licence", "copying", "copyright", "notice", "unlicense")
DEPTH = 3


def packages(target):
    """Every package that is linked into the binary for this target, by name and version; podgate itself is not one."""
    command = ["cargo", "metadata", "--locked", "--format-version=1", f"--filter-platform={target}"]
    metadata = json.loads(subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout)
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    found, waiting = set(), [metadata["resolve"]["root"]]
    while waiting:
        one = waiting.pop()
        if one in found:
            continue
        found.add(one)
        for dependency in nodes[one]["deps"]:
            if any(kind["kind"] is None for kind in dependency["dep_kinds"]):
                waiting.append(dependency["pkg"])
    linked = [one for one in metadata["packages"] if one["id"] in found and one["source"]]
    return sorted(linked, key=lambda one: (one["name"], one["version"]))


def texts(folder):
    """The licence texts below a package's folder, those of C sources it carries included: [(path, text)]."""
    found = []
    for path in sorted(folder.rglob("*")):
        deep = len(path.relative_to(folder).parts) > DEPTH
        if path.is_file() and not deep and path.name.lower().startswith(NAMED) and path.suffix not in (".rs", ".json"):
            found.append((str(path.relative_to(folder)), path.read_text(errors="replace").strip() + "\n"))
    return found


def licences(linked, others):
    """One text file: each licence text once, behind the names of what stands under it. `others` is [(name, text)]."""
    by_text, without = {}, []
    for one in linked:
        own = texts(pathlib.Path(one["manifest_path"]).parent)
        name = f"{one['name']} {one['version']} ({one['license']})"
        if not own:
            without.append(name)
        for path, text in own:
            by_text.setdefault(text, []).append(f"{name}: {path}")
    for name, text in others:
        by_text.setdefault(text, []).append(name)
    parts = ["What the podgate binary is made of, and its licences.\n"]
    if without:
        parts.append("Packages that carry no text of their licence, with its name:\n" + "\n".join(without) + "\n")
    for text, names in sorted(by_text.items(), key=lambda pair: sorted(pair[1])):
        parts.append("=" * 100 + "\n" + "\n".join(sorted(names)) + "\n" + "-" * 100 + "\n" + text)
    return "\n".join(parts).encode()


def bill(linked, version, commit, target, others):
    """CycloneDX as bytes. `others` is [(name, version, licence)]: what cargo does not know of."""
    components = [
        {
            "type": "library",
            "bom-ref": f"pkg:cargo/{one['name']}@{one['version']}",
            "name": one["name"],
            "version": one["version"],
            "purl": f"pkg:cargo/{one['name']}@{one['version']}",
            "licenses": [{"expression": (one["license"] or "NOASSERTION").replace("/", " OR ")}],
        }
        for one in linked
    ]
    components += [
        {"type": "library", "bom-ref": f"{name}@{number}", "name": name, "version": number, "licenses": [{"expression": licence}]}
        for name, number, licence in others
    ]
    podgate = {
        "type": "application",
        "bom-ref": f"podgate@{version}",
        "name": "podgate",
        "version": version,
        "licenses": [{"expression": "Apache-2.0"}],
        "properties": [{"name": "commit", "value": commit}, {"name": "target", "value": target}],
    }
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": podgate},
        "components": components,
    }
    plain = json.dumps(document, sort_keys=True)
    document["serialNumber"] = f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, plain)}"
    return (json.dumps(document, sort_keys=True, indent=1) + "\n").encode()
