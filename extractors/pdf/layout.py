"""Page layout by geometry: words and drawn lines to blocks in reading order, for a whole document. No weights, no library.

    words, rulings -> tables    rulings.py: the frames that drawn lines make
    words -> fragments          fragments.py; furniture.py tells running heads, feet and numbers from the text
    fragments -> regions        columns.py: gutters and bands
    regions -> blocks           aligned.py: tables without rulings; paragraphs.py: the rest
    blocks -> document          here: footnotes after the body of their page, paragraphs that go on in the next column or page,
                                hyphenation (hyphens.py), levels of headings

Limits: words across the main direction of the page are put at its end; text inside drawings is read as text.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field

from extractors.pdf import aligned, rulings
from extractors.pdf.columns import regions
from extractors.pdf.fragments import Fragment, Word, body_size, fragments, is_bold, is_initial, rows
from extractors.pdf.furniture import furniture
from extractors.pdf.hyphens import Spelling
from extractors.pdf.paragraphs import Block, Body, paragraphs, shortened, starts_item, stops

_ACROSS = 0.7  # of the text's width: a drawn line so long divides the page
_NOTE_SIZE = 0.94  # of the body's size: footnotes are set smaller
_NOTE = re.compile(r"^(\(?\d{1,3}\)?|[*∗†‡§¹²³⁴⁵⁶⁷⁸⁹⁰]+|\[\d{1,3}\]|[a-z]\))\s*[^\s\d.,;)]")


@dataclass(slots=True)
class PageContent:
    """What a page holds: words along its main direction, turned upright; the other words; boxes of drawn lines; its size in points."""

    words: list[Word]
    height: float
    turned: list[Word] = field(default_factory=list)
    drawn: list[rulings.Box] = field(default_factory=list)


@dataclass(slots=True)
class Analysis:
    """Blocks of each page in reading order, every word in exactly one, and how the document spells."""

    pages: list[list[Block]]
    spelling: Spelling


def analyse(pages: list[PageContent]) -> Analysis:
    """The whole document: running heads, the size of the body and paragraphs over pages are known by all pages together."""
    spelling = Spelling(word[4] for page in pages for word in page.words)
    parts: list[list[Fragment]] = []
    for page in pages:
        tables = rulings.tables(page.words, page.drawn, spelling)
        taken = {i for table in tables for i in table.words}
        loose = fragments([word for i, word in enumerate(page.words) if i not in taken])
        parts.append(_with_drop_caps(loose) + [rulings.stand_in(table, page.words) for table in tables])
    body = _body(pages, parts)
    margins = furniture(parts, [page.height for page in pages])
    aside = [fragments(page.turned) for page in pages]
    stamps = Counter(text for found in aside for text in {f.text for f in found})
    out: list[list[Block]] = []
    for number, (page, found) in enumerate(zip(pages, parts, strict=True)):
        inner = [f for i, f in enumerate(found) if (number, i) not in margins]
        bands = _banded(inner, page)
        outer = [Block("header" if f.middle < page.height / 2 else "footer", [f]) for i, f in enumerate(found) if (number, i) in margins]
        turned = [Block("header" if stamps[f.text] > 1 else "text", [f], region=-1) for f in aside[number]]
        out.append(outer + _notes_last(_blocks(bands, body), body, page) + turned)
    for blocks in out:
        for block in blocks:
            block.text = spelling.joined(f.text for f in block.lines)
    _continuity(out)
    _levels(out)
    return Analysis(out, spelling)


def _body(pages: list[PageContent], parts: list[list[Fragment]]) -> Body:
    letters = [(len(word[4]), is_bold(word[5])) for page in pages for word in page.words]
    return Body(body_size(parts), sum(n for n, bold in letters if bold) > 0.5 * sum(n for n, _ in letters))


def _with_drop_caps(page: list[Fragment]) -> list[Fragment]:
    """A large initial beside the lines it begins is put before the first of them."""
    for cap in [f for f in page if len(f.text) == 1 and f.text.isalpha()]:
        beside = [f for f in page if f is not cap and -1 <= f.l - cap.r <= 1.2 * f.size and f.t < cap.b and f.b > cap.t - 0.3 * f.size]
        beside = [f for f in beside if is_initial(cap, f.size)]
        if len(beside) >= 2:
            first = min(beside, key=lambda f: f.t)
            first.text, first.l = cap.text + first.text, cap.l
            page = [f for f in page if f is not cap]
    return page


def _banded(page: list[Fragment], content: PageContent) -> list[list[Fragment]]:
    """The page cut at lines drawn right across it. Lines of one length, three and more, are a table's."""
    if not page:
        return []
    left, right = min(f.l for f in page), max(f.r for f in page)
    across = [box for box in content.drawn if box[3] - box[1] <= 3 and box[2] - box[0] > _ACROSS * (right - left)]
    lengths = Counter((round(box[0] / 4), round(box[2] / 4)) for box in across)
    cuts = sorted(
        (box[1] + box[3]) / 2
        for box in across
        if lengths[round(box[0] / 4), round(box[2] / 4)] < 3 and not any(f.t + 1 < box[3] and f.b - 1 > box[1] for f in page)
    )
    bands: list[list[Fragment]] = [[] for _ in range(len(cuts) + 1)]
    for f in page:
        bands[bisect_left(cuts, f.middle)].append(f)
    return [band for band in bands if band]


def _blocks(bands: list[list[Fragment]], body: Body) -> list[Block]:
    """Blocks of one page, band after band and region after region."""
    out: list[Block] = []
    for number, region in enumerate(region for band in bands for region in regions(band)):
        found = _region_blocks(region, body)
        for block in found:
            block.region = number
        out.extend(found)
    return out


def _region_blocks(region: list[Fragment], body: Body) -> list[Block]:
    lines = rows(region)
    out: list[Block] = []
    plain: list[list[Fragment]] = []
    at = 0
    while at < len(lines):
        table = next((f for f in lines[at] if f.grid), None)
        if table:
            out.extend(paragraphs(plain, body) + [Block("table", [table], table.grid)])
            plain = [rest] if (rest := [f for f in lines[at] if f is not table]) else []
            at += 1
            continue
        end = aligned.end_of_run(lines, at)
        cells = aligned.grid(lines[at:end]) if end - at >= 3 else None
        if cells is None or (aligned.wordy(cells) and not aligned.columns(cells)):
            plain.append(lines[at])
            at += 1
            continue
        out.extend(paragraphs(plain, body))
        plain = []
        if aligned.wordy(cells):
            for column in zip(*cells, strict=True):
                out.extend(paragraphs(rows([f for cell in column for f in cell]), body))
        else:
            texts = [[" ".join(f.text for f in cell) for cell in row] for row in cells]
            out.append(Block("table", [f for row in lines[at:end] for f in row], texts))
        at = end
    return out + paragraphs(plain, body)


def _notes_last(blocks: list[Block], body: Body, page: PageContent) -> list[Block]:
    """Footnotes after the body: what is set smaller at the foot of a column or of the page and begins with a mark or under a line."""
    notes: list[int] = []
    for number in {block.region for block in blocks}:
        inside = [i for i, block in enumerate(blocks) if block.region == number]
        foot: list[int] = []
        for i in reversed(inside):
            if blocks[i].label not in ("text", "bullet") or max(f.size for f in blocks[i].lines) > _NOTE_SIZE * body.size:
                break
            foot.insert(0, i)
        while foot and not _NOTE.match(blocks[foot[0]].lines[0].text) and not _under_line(blocks[foot[0]], page):
            foot.pop(0)
        if foot and not any(
            f.t >= blocks[foot[0]].lines[0].t and f.l < blocks[foot[0]].lines[0].r and f.r > blocks[foot[0]].lines[0].l
            for i, block in enumerate(blocks)
            if i not in inside and max(f.size for f in block.lines) > _NOTE_SIZE * body.size
            for f in block.lines
        ):
            notes.extend(foot)
    kept = set(notes)
    body_blocks = [block for i, block in enumerate(blocks) if i not in kept]
    return body_blocks + [note for i, block in enumerate(blocks) if i in kept for note in _notes(block)]


def _notes(block: Block) -> list[Block]:
    """A block of footnotes as one block for each: a new one begins with the number after the last, or with a sign."""
    out: list[Block] = []
    number = -1
    for line in block.lines:
        match = _NOTE.match(line.text)
        sign = match[1].strip("()[]") if match else ""
        counts = sign.isdecimal() and (number < 0 or int(sign) == number + 1)
        if not out or counts or (sign and not sign.isalnum()):
            out.append(Block("footnote", [line], region=block.region))
        else:
            out[-1].lines.append(line)
        number = int(sign) if counts else number
    return out


def _under_line(block: Block, page: PageContent) -> bool:
    """Whether a short drawn line stands right above the block, at its left edge."""
    first = block.lines[0]
    return any(
        b - t <= 2 and r - l >= 20 and abs(l - first.l) < 2 * first.size and -2 <= first.t - b <= 2 * first.size
        for l, t, r, b in page.drawn  # noqa: E741
    )


def _continuity(pages: list[list[Block]]) -> None:
    """Marks the blocks that go on with the paragraph at the end of the column or page before."""
    last: Block | None = None
    place = (0, 0)
    for number, page in enumerate(pages):
        for block in page:
            if block.label in ("header", "footer", "footnote", "caption", "table") or block.region < 0:
                continue
            here = (number, block.region)
            if last is not None and here != place and block.label == "text" and _goes_on(last, block):
                block.continues, block.label = True, last.label
            last, place = block, here


def _goes_on(above: Block, below: Block) -> bool:
    if above.label in ("text", "bullet") and shortened(above.text, below.text):
        return True
    if above.label not in ("text", "bullet") or stops(above.text) or not above.text or starts_item(below.text):
        return False
    first, end = below.text.lstrip()[:1], above.text.rstrip()[-1:]
    if abs(above.lines[-1].size - below.lines[0].size) > 0.15 * above.lines[-1].size:
        return False
    if first.islower():
        return end != ";" or above.full
    return above.full and not below.indented and (end.isalnum() or end in ",-\u00ad\u2010(")


def _levels(pages: list[list[Block]]) -> None:
    """Levels of headings by size, weight and capitals: the most prominent style of the document is 1."""
    headings = [block for page in pages for block in page if block.label == "heading"]
    sizes: list[float] = []
    for size in sorted({max(f.size for f in block.lines) for block in headings}, reverse=True):
        if not sizes or size < 0.93 * sizes[-1]:
            sizes.append(size)
    styles = {}
    for block in headings:
        size = max(f.size for f in block.lines)
        rank = max(i for i, largest in enumerate(sizes) if size <= largest or i == 0)
        styles[id(block)] = (rank, not all(f.bold for f in block.lines), not block.text.isupper())
    order = {style: i + 1 for i, style in enumerate(sorted(set(styles.values())))}
    for block in headings:
        block.level = min(order[styles[id(block)]], 5)
