"""Plain text, kept as it is; subtitles, whose words are kept and whose times are not."""

from __future__ import annotations

import functools
import html
import re
from collections.abc import Callable

from extractors.decode import decode
from extractors.extract import ExtractConfig
from extractors.result import Extracted

Reader = Callable[[bytes, str, ExtractConfig], Extracted]
_TIMES = re.compile(r"^(?:\d{1,3}:)?\d\d:\d\d[.,]\d{3} --> .*$")
_SPEAKER = re.compile(r"<v(?:\.[^\s>]+)*\s+([^>]+)>")
_TAG = re.compile(r"</?[A-Za-z][^<>]*>|<\d[\d:.]*>|\{\\[^}]*\}")


def read(data: bytes, kind: str, config: ExtractConfig) -> Extracted:
    """The text and its encoding."""
    text, encoding = decode(data)
    return Extracted(text, "plain", warnings=undecoded(text, data), encoding=encoding)


def read_subtitles(data: bytes, kind: str, config: ExtractConfig) -> Extracted:
    """WebVTT or SubRip: the lines of the cues, one under the other, a new paragraph where another voice speaks."""
    text, encoding = decode(data)
    out: list[str] = []
    voice = ""
    for block in re.split(r"\n[ \t]*\n", text.replace("\r\n", "\n").replace("\r", "\n")):
        lines = block.strip("\n").split("\n")
        at = next((i for i, line in enumerate(lines) if _TIMES.match(line.strip())), None)
        if at is None:  # the head, a note, a style
            continue
        speaker = _SPEAKER.search(block)
        cue = [html.unescape(_TAG.sub("", line)).strip() for line in lines[at + 1 :]]
        cue = [line for line in cue if line]
        if len(cue) > 1 and out and cue[0] == out[-1]:  # captions that roll show the line before once more
            del cue[0]
        if speaker and voice and speaker[1] != voice:
            out.append("")
        voice = speaker[1] if speaker else voice
        out += cue
    return Extracted("\n".join(out), "subtitles", warnings=undecoded(text, data), encoding=encoding)


def or_as_written(reader: Reader) -> Reader:
    """A reader of light markup that gives the source as it is, and says so, where its parser fails: it is text in any case."""

    @functools.wraps(reader)
    def read_anyhow(data: bytes, kind: str, config: ExtractConfig) -> Extracted:
        try:
            return reader(data, kind, config)
        except (ImportError, MemoryError):
            raise
        except Exception:  # RecursionError among them
            result = read(data, kind, config)
            result.warnings.append("fallback_markup_as_written")
            return result

    return read_anyhow


def undecoded(text: str, data: bytes) -> list[str]:
    """The warning that bytes were no characters in the encoding."""
    return ["undecodable_bytes"] if "\ufffd" in text and "\ufffd".encode() not in data else []
