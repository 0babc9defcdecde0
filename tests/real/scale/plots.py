"""Line charts as SVG, for documents: panels side by side, a logarithmic x axis, readable on light and on dark paper.

Standard library only; the same figures make the same bytes.
"""

import html
import math

WIDTH, HEIGHT = 380, 240
LEFT, RIGHT, TOP, BOTTOM = 58, 14, 48, 40
STYLE = """
text { font: 11px sans-serif; fill: #444 } .title { font-size: 12px; font-weight: bold } .grid { stroke: #8886; stroke-width: 1 }
.line { fill: none; stroke-width: 2 } .a { stroke: #0969da } .a.dot { fill: #0969da } .b { stroke: #bc4c00 } .b.dot { fill: #bc4c00 }
.c { stroke: #6e7781; stroke-dasharray: 4 3 } .c.dot { fill: #6e7781; stroke-dasharray: none }
@media (prefers-color-scheme: dark) { text { fill: #c9d1d9 } .a { stroke: #58a6ff } .a.dot { fill: #58a6ff }
.b { stroke: #f0883e } .b.dot { fill: #f0883e } .c { stroke: #8b949e } .c.dot { fill: #8b949e } }
"""
CLASSES = "abc"


def short(value):
    """A number as an axis has it."""
    for size, unit in ((1_000_000, "M"), (1_000, "k")):
        if value >= size:
            return f"{value / size:g}{unit}"
    return f"{value:g}"


def nice(top):
    """The step of an axis from 0 to at least `top`, in three to six steps, and its end."""
    rough = max(top, 1e-9) / 5
    power = 10 ** math.floor(math.log10(rough))
    step = next(size * power for size in (1, 2, 5, 10) if size * power >= rough)
    return step, step * math.ceil(top / step - 1e-9)


def panel(left, title, x_name, lines):
    """One chart; `lines` are `(name, [(x, y)])`, at most three. The y axis begins at 0, so that flat looks flat."""
    xs = [x for _, points in lines for x, _ in points]
    step, top = nice(max(y for _, points in lines for _, y in points))
    low, high = math.log10(min(xs)), math.log10(max(xs))
    wide, high_px = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
    at_x = lambda x: left + LEFT + (wide * (math.log10(x) - low) / (high - low) if high > low else wide / 2)  # noqa: E731
    at_y = lambda y: TOP + high_px * (1 - y / top)  # noqa: E731
    out = [f'<text class="title" x="{left + LEFT}" y="16">{html.escape(title)}</text>']
    for turn in range(round(top / step) + 1):
        y = at_y(turn * step)
        out.append(f'<path class="grid" d="M{left + LEFT} {y:.1f}H{left + WIDTH - RIGHT}"/>')
        out.append(f'<text x="{left + LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{short(turn * step)}</text>')
    for x in sorted(set(max((points for _, points in lines), key=len)), key=lambda point: point[0]):
        out.append(f'<text x="{at_x(x[0]):.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{short(x[0])}</text>')
    out.append(f'<text x="{left + LEFT + wide / 2}" y="{HEIGHT - 6}" text-anchor="middle">{html.escape(x_name)}</text>')
    for number, (name, points) in enumerate(lines):
        kind, along = CLASSES[number], left + LEFT + number * 96
        out.append(f'<circle class="{kind} dot" cx="{along + 4}" cy="32" r="3"/>')
        out.append(f'<text x="{along + 11}" y="36">{html.escape(name)}</text>')
        path = "L".join(f"{at_x(x):.1f} {at_y(y):.1f}" for x, y in points)
        out.append(f'<path class="line {kind}" d="M{path}"/>')
        out += [f'<circle class="{kind} dot" cx="{at_x(x):.1f}" cy="{at_y(y):.1f}" r="3"/>' for x, y in points]
    return out


def chart(panels):
    """The text of an SVG file; `panels` are `(title, x_name, lines)`."""
    wide = WIDTH * len(panels)
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{wide}" height="{HEIGHT}" viewBox="0 0 {wide} {HEIGHT}">'
    out = [head, f"<style>{STYLE}</style>"]
    for number, (title, x_name, lines) in enumerate(panels):
        out += panel(number * WIDTH, title, x_name, lines)
    return "\n".join([*out, "</svg>", ""])
