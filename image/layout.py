"""An image as an OCI layout, from files given, without a container engine: the same files make the same bytes.

Nothing of the machine goes in: no clock, no user, no umask, no order of a folder. Standard library only.
"""

import gzip
import hashlib
import io
import json
import pathlib
import tarfile

USER = 10001
CONFIG = "application/vnd.oci.image.config.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
# As which programs the binary is called where another collector's image stood (the field's charts write the command).
NAMES = ("otelcol", "otelcol-contrib", "otelcol-k8s", "otelcontribcol")


def encoded(value):
    """JSON whose bytes depend on the value alone."""
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def digest(content):
    return "sha256:" + hashlib.sha256(content).hexdigest()


def root(binary, certificates, papers):
    """The root folder as {path: bytes, or a link's target as str}; `papers` are {path: bytes} that go along."""
    users = f"root:x:0:0::/:/nologin\npodgate:x:{USER}:{USER}::/:/nologin\n"
    files = {
        "podgate": binary,
        "etc/passwd": users.encode(),
        "etc/group": f"root:x:0:\npodgate:x:{USER}:\n".encode(),
        "etc/ssl/certs/ca-certificates.crt": certificates,
        **papers,
    }
    return {**files, **{name: "podgate" for name in NAMES}}


def layer(files):
    """The tar of a root folder: sorted, owned by root, of 1970, nothing writable."""
    folders = {str(parent) for path in files for parent in pathlib.PurePosixPath(path).parents if str(parent) != "."}
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for path in sorted(folders | set(files)):
            entry = tarfile.TarInfo(path)
            content = files.get(path)
            if path in folders:
                entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            elif isinstance(content, str):
                entry.type, entry.linkname, entry.mode = tarfile.SYMTYPE, content, 0o777
            else:
                entry.size, entry.mode = len(content), 0o755 if path == "podgate" else 0o644
            tar.addfile(entry, io.BytesIO(content) if isinstance(content, bytes) else None)
    return out.getvalue()


def image(architecture, files, labels, created):
    """The blobs of one architecture, its manifest the last: [(media type, bytes)]."""
    plain = layer(files)
    # The second argument of time is gzip's own field; a name would be the third.
    packed = gzip.compress(plain, 9, mtime=0)
    config = encoded(
        {
            "architecture": architecture,
            "os": "linux",
            "created": created,
            "config": {
                "User": f"{USER}:{USER}",
                "Entrypoint": ["/podgate"],
                "ExposedPorts": {f"{port}/tcp": {} for port in (4317, 4318, 8888, 13133)},
                "Labels": labels,
            },
            "rootfs": {"type": "layers", "diff_ids": [digest(plain)]},
            "history": [{"created": created, "created_by": "make image"}],
        }
    )
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": described(CONFIG, config),
        "layers": [described(LAYER, packed)],
        "annotations": labels,
    }
    return [(LAYER, packed), (CONFIG, config), (MANIFEST, encoded(manifest))]


def described(media_type, content, **more):
    return {"mediaType": media_type, "digest": digest(content), "size": len(content), **more}


def index(images, name):
    """Every file of a layout as {path: bytes}; `images` is {architecture: blobs}, `name` the reference in index.json."""
    files, manifests = {}, []
    for architecture, blobs in sorted(images.items()):
        for _, content in blobs:
            files[f"blobs/sha256/{digest(content)[7:]}"] = content
        platform = {"architecture": architecture, "os": "linux"}
        manifests.append(described(*blobs[-1], platform=platform))
    inner = encoded({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests})
    files[f"blobs/sha256/{digest(inner)[7:]}"] = inner
    entry = described(INDEX, inner, annotations={"org.opencontainers.image.ref.name": name})
    files["index.json"] = encoded({"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]})
    files["oci-layout"] = encoded({"imageLayoutVersion": "1.0.0"})
    return files


def archive(blobs, repository, version):
    """One architecture as one file that engines load: an OCI archive that is a docker archive as well."""
    (_, packed), (_, config), (media_type, manifest) = blobs
    entry = described(media_type, manifest, annotations={"org.opencontainers.image.ref.name": version})
    at = {content: f"blobs/sha256/{digest(content)[7:]}" for _, content in blobs}
    files = {path: content for content, path in at.items()}
    files["index.json"] = encoded({"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]})
    files["oci-layout"] = encoded({"imageLayoutVersion": "1.0.0"})
    saved = {"Config": at[config], "RepoTags": [f"{repository}:{version}"], "Layers": [at[packed]]}
    files["manifest.json"] = encoded([saved])
    return layer(files)


def write(files, folder):
    """Writes a layout; what was there of an older one and is no part of it goes."""
    folder = pathlib.Path(folder)
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    for old in folder.rglob("*"):
        if old.is_file() and str(old.relative_to(folder)) not in files:
            old.unlink()
