"""The pictures of docs/, drawn from text: boxes on a grid, and arrows between them.

    python tools/pictures.py

writes docs/pictures/*.svg anew; tests/tools/test_pictures.py holds them. A line
`NAME COLUMN ROW TEXT` is a box, `|` in its text begins a new line; `NAME > NAME TEXT` is an arrow,
whose text may be missing.
"""

from __future__ import annotations

from pathlib import Path
from xml.sax.saxutils import escape

FOLDER = Path(__file__).parents[1] / "docs" / "pictures"

PICTURES = {
    "elaboration": """
        The way from source text to kernels: nothing of SGLang is executed
        source   0   0  SGLang's source text
        config   1   0  config.json
        serving  2   0  serving sizes,|launch line
        index    0   1  index: statements,|parsed when a name is wanted
        made     1   1  config object, as|transformers makes it
        facts    2   1  environment, server|arguments: facts.json
        build    1   2  constructor, run over values|that may be unknown
        forward  1   3  forward pass, followed|with unknown tensors
        tree     1   4  ModelTree: modules, calls,|kernel calls, what is missing
        plugins  1   5  plugins op_*: kernels,|or why there is none
        source > index
        config > made
        serving > facts
        index > build
        made > build
        facts > build
        build > forward
        forward > tree
        tree > plugins
    """,
    "origins": """
        A number keeps where it is from
        hidden   0  0  hidden_size = 4096|config:hidden_size
        heads    1  0  num_attention_heads = 32|config:num_attention_heads
        tp       2  0  tp = 4|serving:tp
        dim      0  1  head_dim = 4096 // 32 = 128|both keys
        rank     1  1  heads of a rank = 32 // 4 = 8|key and size
        kernel   1  2  gqa_paged_decode_h8_…_d128:|each axis with its origins
        hidden > dim
        heads > dim
        heads > rank
        tp > rank
        dim > kernel
        rank > kernel
    """,
    "branches": """
        An undecided branch: both sides run, and what they did is merged
        if       1  0  if x.is_cuda:|the condition is Unknown
        yes      0  1  its body runs: the journal|notes what it writes
        no       2  1  that is undone, then|the other side runs
        left     0  2  a side that leaves (return,|break) is kept apart until|that has ended
        merged   1  2  merged: equal values stay,|others are Alternatives,|or Unknown, with a reason
        raised   2  2  a side that raises|is not taken
        if > yes  true?
        if > no  false?
        yes > left
        yes > merged
        no > merged
        no > raised
    """,
}

WIDTH, HEIGHT, ACROSS, DOWN, MARGIN, LINE = 236, 62, 262, 104, 10, 17
STYLE = """\
text{font:13px system-ui,sans-serif;fill:#1c2733;text-anchor:middle}
rect{fill:#eef3fb;stroke:#5577aa}
path{stroke:#5577aa;fill:none}
marker path{fill:#5577aa}
@media(prefers-color-scheme:dark){text{fill:#e4e9f0}rect{fill:#26303f}}"""


def drawn(text: str) -> str:
    """A picture as SVG."""
    title, *lines = (line.strip() for line in text.strip().splitlines())
    boxes, arrows = {}, []
    for line in lines:
        if line.split()[1] == ">":
            start, _, end, *label = line.split(maxsplit=3)
            arrows.append((start, end, "".join(label)))
        else:
            name, column, row, said = line.split(maxsplit=3)
            boxes[name] = (int(column), int(row), said.split("|"))
    width = 2 * MARGIN + ACROSS * max(c for c, _, _ in boxes.values()) + WIDTH
    height = 2 * MARGIN + DOWN * max(r for _, r, _ in boxes.values()) + HEIGHT
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img"',
        f'width="{width}" height="{height}">',
        f"<title>{escape(title)}</title>",
        f"<style>{STYLE}</style>",
        '<defs><marker id="end" viewBox="0 0 8 8" refX="8" refY="4" orient="auto"',
        'markerWidth="8" markerHeight="8"><path d="M0 0 8 4 0 8z"/></marker></defs>',
    ]
    for start, end, label in arrows:
        parts += _arrow(boxes[start][:2], boxes[end][:2], label)
    for column, row, said in boxes.values():
        parts += _box(MARGIN + ACROSS * column, MARGIN + DOWN * row, said)
    return "\n".join([*parts, "</svg>", ""])


def _box(x: int, y: int, said: list[str]) -> list[str]:
    parts = [f'<rect x="{x}" y="{y}" width="{WIDTH}" height="{HEIGHT}" rx="6"/>']
    first = y + HEIGHT / 2 + 4.5 - LINE * (len(said) - 1) / 2
    for number, line in enumerate(said):
        at = f'x="{x + WIDTH / 2:g}" y="{first + LINE * number:g}"'
        parts.append(f"<text {at}>{escape(line)}</text>")
    return parts


def _arrow(start: tuple[int, int], end: tuple[int, int], label: str) -> list[str]:
    """From the lower edge of a box to the upper edge of one below."""
    shift = 30 * (end[0] - start[0])  # arrows of one box do not begin, or end, at one point
    x, y = MARGIN + ACROSS * start[0] + WIDTH / 2 + shift, MARGIN + DOWN * start[1] + HEIGHT
    to_x, to_y = MARGIN + ACROSS * end[0] + WIDTH / 2 - shift, MARGIN + DOWN * end[1]
    parts = [f'<path d="M{x:g} {y} {to_x:g} {to_y - 1}" marker-end="url(#end)"/>']
    if label:
        at = f'x="{(x + to_x) / 2:g}" y="{(y + to_y) / 2 - 4:g}"'
        parts.append(f"<text {at}>{escape(label)}</text>")
    return parts


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for key, picture in PICTURES.items():
        (FOLDER / f"{key}.svg").write_text(drawn(picture), encoding="utf-8")
