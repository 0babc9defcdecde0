"""Screenshots made small: a palette of 256 colors, unfiltered rows, and zlib's best. Plain Python, for pictures of
pages, which have few colors.
"""

import collections
import struct
import zlib

NEAR = 6


def chunks(data):
    at = 8
    while at < len(data):
        (size,) = struct.unpack(">I", data[at : at + 4])
        yield data[at + 4 : at + 8], data[at + 8 : at + 8 + size]
        at += 12 + size


def unfiltered(raw, stride, step):
    """The rows of an image of `step` bytes a pixel, their filters undone (PNG 9.2)."""
    before = bytearray(stride)
    for at in range(0, len(raw), stride + 1):
        line, kind = bytearray(raw[at + 1 : at + 1 + stride]), raw[at]
        for x in range(stride if kind else 0):
            left, up, corner = (line[x - step] if x >= step else 0), before[x], (before[x - step] if x >= step else 0)
            if kind == 4:
                ways = [abs(up - corner), abs(left - corner), abs(left + up - 2 * corner)]
                line[x] = (line[x] + (left, up, corner)[ways.index(min(ways))]) & 255
            else:
                line[x] = (line[x] + (0, left, up, (left + up) // 2)[kind]) & 255
        yield line
        before = line


def squeeze(path):
    """Rewrites a PNG of 8 bits a channel, with or without alpha, which is left out."""
    parts = list(chunks(path.read_bytes()))
    width, height, depth, color = struct.unpack(">IIBB", parts[0][1][:10])
    step = {(8, 2): 3, (8, 6): 4}[depth, color]
    raw = zlib.decompress(b"".join(body for kind, body in parts if kind == b"IDAT"))
    rows = [[bytes(line[x : x + 3]) for x in range(0, width * step, step)] for line in unfiltered(raw, width * step, step)]
    counts = collections.Counter(pixel for row in rows for pixel in row)
    common = []
    for pixel, _ in counts.most_common():
        # What differs from a commoner one by less than the eye sees needs no place; a rare color of its own does.
        if len(common) < 256 and all(max(abs(a - b) for a, b in zip(pixel, other)) > NEAR for other in common):
            common.append(pixel)
    places = {color: place for place, color in enumerate(common)}

    def place_of(pixel):
        if pixel not in places:
            places[pixel] = min(range(len(common)), key=lambda place: sum((a - b) ** 2 for a, b in zip(common[place], pixel)))
        return places[pixel]

    image = b"".join(b"\0" + bytes(place_of(pixel) for pixel in row) for row in rows)
    head = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    out = b"\x89PNG\r\n\x1a\n"
    for kind, body in [(b"IHDR", head), (b"PLTE", b"".join(common)), (b"IDAT", zlib.compress(image, 9)), (b"IEND", b"")]:
        out += struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    path.write_bytes(out)
