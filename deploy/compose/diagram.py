"""A sequence of hops, as a table for the terminal and as an SVG picture."""

from __future__ import annotations

from collections.abc import Sequence
from xml.sax.saxutils import escape

from deploy.compose.hops import LANES, Hop

LANE_WIDTH, ROW_HEIGHT, TOP, LEFT = 150, 26, 60, 90
LETTER = 7
"""Pixels that a letter takes at most, on average."""
COLOURS = ("#555", "#1f6f8b", "#7a4a9e", "#b3541e", "#2e7d32", "#1a5fb4", "#00838f", "#ad1457")


def table(hops: Sequence[Hop]) -> str:
    """A line a hop: milliseconds since the first and since the one before, who to whom, what."""
    lines = [f"{'ms':>7}  {'+ms':>6}  {'from → to':<32}{'revision':>8}  what"]
    for before, hop in zip((hops[0], *hops), hops, strict=False):
        way = hop.source if hop.source == hop.target else f"{hop.source} → {hop.target}"
        since, step = (hop.time - hops[0].time) * 1000, (hop.time - before.time) * 1000
        lines.append(f"{since:>7.0f}  {step:>6.0f}  {way:<32}{hop.revision or '':>8}  {hop.what}")
    return "\n".join(lines)


def svg(title: str, hops: Sequence[Hop]) -> str:
    """The same as a sequence diagram: a lane for each that took part, time downwards, a row a hop."""
    lanes = [lane for lane in LANES if any(lane in (hop.source, hop.target) for hop in hops)]
    middle = {lane: LEFT + LANE_WIDTH * number + LANE_WIDTH // 2 for number, lane in enumerate(lanes)}
    colour = dict(zip(LANES, COLOURS, strict=True))
    labels = [(max(middle[hop.source], middle[hop.target]) + 10, _label(hop)) for hop in hops]
    width = max(LEFT + LANE_WIDTH * len(lanes), *(x + LETTER * len(label) for x, label in labels))
    height = TOP + ROW_HEIGHT * (len(hops) + 1)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        'font-family="sans-serif" font-size="12">',
        f"<defs>{''.join(_tip(lane, colour[lane]) for lane in lanes)}</defs>",
        f'<rect width="{width}" height="{height}" fill="white"/>',
        f'<text x="12" y="20" font-size="15" font-weight="bold">{escape(title)}</text>',
    ]
    for lane, x in middle.items():
        parts.append(f'<text x="{x}" y="44" text-anchor="middle" fill="{colour[lane]}">{escape(lane)}</text>')
        parts.append(f'<line x1="{x}" y1="{TOP - 8}" x2="{x}" y2="{height - 8}" stroke="#ccc"/>')
    for number, (hop, (x, label)) in enumerate(zip(hops, labels, strict=True)):
        y = TOP + ROW_HEIGHT * number + ROW_HEIGHT // 2
        start, end, stroke = middle[hop.source], middle[hop.target], colour[hop.source]
        milliseconds = (hop.time - hops[0].time) * 1000
        parts.append(f'<text x="{LEFT - 20}" y="{y + 4}" text-anchor="end" fill="#777">{milliseconds:.0f} ms</text>')
        if start == end:
            parts.append(f'<circle cx="{start}" cy="{y}" r="4" fill="{stroke}"/>')
        else:
            tip = f'stroke-width="1.5" marker-end="url(#{hop.source})"'
            parts.append(f'<line x1="{start}" y1="{y}" x2="{end}" y2="{y}" stroke="{stroke}" {tip}/>')
        # With a rim of white, where it crosses a lane.
        rim = 'stroke="white" stroke-width="3" paint-order="stroke"'
        parts.append(f'<text x="{x}" y="{y + 4}" fill="#222" {rim}>{escape(label)}</text>')
    return "\n".join([*parts, "</svg>", ""])


def _label(hop: Hop) -> str:
    return hop.what + (f" [revision {hop.revision}]" if hop.revision else "")


def _tip(lane: str, colour: str) -> str:
    """The head of an arrow; one for each colour, as not everything that shows an SVG takes that of the line."""
    return (
        f'<marker id="{lane}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        f'<path d="M0 0 8 4 0 8z" fill="{colour}"/></marker>'
    )
