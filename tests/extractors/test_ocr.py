"""OCR: what is decided without an engine, and our side of the contract with one.

The engine here is a small program of the test's own that answers as Tesseract does: its languages, its orientation report, its
table of words. What is tested is what we ask, what we send and what we make of the answer, not how well Tesseract reads.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from corpus.outcome import Circumstance, Verdict
from extractors import images, ocr, tesseract
from extractors.extract import ExtractConfig, as_measurements, decide, extracted

HEAD = "level\tpage_num\tblock_num\tpar_num\tline_num\tword_num\tleft\ttop\twidth\theight\tconf\ttext"
Install = Callable[..., Path]


def table(lines: list[tuple[int, int, int, str]], confidence: float = 95.0, height: int = 40) -> str:
    """Tesseract's TSV of lines: block, left, top, text; letters are half as wide as high."""
    rows = [HEAD, "1\t1\t0\t0\t0\t0\t0\t0\t2480\t3508\t-1\t"]
    for number, (block, left, top, text) in enumerate(lines):
        x = left
        for place, word in enumerate(text.split()):
            width = len(word) * height // 2
            rows.append(f"5\t1\t{block}\t1\t{number}\t{place}\t{x}\t{top}\t{width}\t{height}\t{confidence}\t{word}")
            x += width + height // 2
    return "\n".join(rows) + "\n"


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Puts a `tesseract` alone on the path: `body` is Python that answers to `options` and the image on its standard input."""

    def put(body: str, languages: str = "eng ita osd") -> Path:
        program = tmp_path / "tesseract"
        listed = f'List of available languages in "{tmp_path}/" ({len(languages.split())}):\n' + "\n".join(languages.split())
        program.write_text(
            f"#!{sys.executable} -S\nimport sys\noptions = sys.argv[1:]\n"
            f"if options == ['--version']:\n    print('tesseract 5.9.1\\n leptonica-1.82.0')\n"
            f"elif options == ['--list-langs']:\n    print({listed!r})\nelse:\n    image = sys.stdin.buffer.read()\n"
            + "".join(f"    {line}\n" for line in body.splitlines())
        )
        program.chmod(0o755)
        for name in languages.split():
            (tmp_path / f"{name}.traineddata").write_bytes(name.encode())
        monkeypatch.setenv("PATH", str(tmp_path))
        tesseract.installed.cache_clear()
        return program

    return put


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without an engine."""
    monkeypatch.setenv("PATH", str(tmp_path))


def says(text: str) -> str:
    return f"print({text!r}, end='')"


def picture(kind: str = "PNG", size: tuple[int, int] = (2480, 3508), **how: object) -> bytes:
    file = io.BytesIO()
    Image.new("L", size, 255).save(file, kind, **how)  # type: ignore[arg-type]
    return file.getvalue()


def scanned(pages: int = 1, width: int = 595, height: int = 842) -> bytes:
    """A PDF whose pages are images."""
    file = io.BytesIO()
    images = [Image.new("L", (width, height), 255) for _ in range(pages)]
    images[0].save(file, "PDF", save_all=True, append_images=images[1:], resolution=72.0)
    return file.getvalue()


def test_without_an_engine_images_and_pages_wait_for_one_and_the_remedy_names_the_packages(bare: None) -> None:
    config = ExtractConfig()
    assert (ocr.available(config), ocr.tools(config), ocr.read_pages(scanned(), [1], config)) == ("", {}, {})
    result = ocr.read_image(picture(size=(50, 50)), "image", config)
    assert result.problem == "needs_ocr"
    assert "tesseract" in result.detail
    assert ocr.found(config)[0] == "" and "tesseract" in ocr.found(config)[1]


def test_the_remedy_names_the_model_of_each_language_that_is_missing(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    install(says(HEAD), "eng osd")
    config = ExtractConfig(ocr_languages=("ita", "eng", "chi_sim"))
    assert ocr.remedy(config) == "apt install tesseract-ocr tesseract-ocr-ita tesseract-ocr-chi-sim"
    assert ocr.remedy(ExtractConfig(ocr="off")) == "set extract.ocr to auto"


def test_an_engine_is_available_only_with_one_of_the_languages_and_when_ocr_is_on(install: Install) -> None:
    install(says(HEAD), "eng osd")
    assert ocr.available(ExtractConfig()) == "tesseract 5.9.1 (eng)"
    assert ocr.available(ExtractConfig(ocr="off")) == ""
    assert ocr.available(ExtractConfig(ocr_languages=("ita",))) == ""
    assert ocr.missing(ExtractConfig()) == ["ita"]


def test_other_models_are_another_identity(install: Install) -> None:
    program = install(says(HEAD))
    before = ocr.tools(ExtractConfig())
    assert set(before) == {"tesseract", "tesseract-ita", "tesseract-eng"}
    (program.parent / "ita.traineddata").write_bytes(b"trained by hand")
    tesseract.installed.cache_clear()
    after = ocr.tools(ExtractConfig())
    assert before["tesseract-ita"] != after["tesseract-ita"]
    assert before["tesseract-eng"] == after["tesseract-eng"]


def test_a_program_that_is_no_engine_is_none(install: Install) -> None:
    program = install(says(HEAD))
    program.write_text("no program at all")
    tesseract.installed.cache_clear()
    assert ocr.available(ExtractConfig()) == ""


def test_pages_go_through_a_pipe_in_grey_with_the_languages_and_come_back_as_text(install: Install, tmp_path: Path) -> None:
    answer = table(
        [(1, 200, 300, "Contratto di fornitura tra le parti"), (1, 200, 360, "stipulato in Roma il giorno due mag-"), (1, 200, 420, "gio")]
    )
    install(f"open({str(tmp_path / 'asked')!r}, 'w').write(' '.join(options) + repr(image[:16]))\n{says(answer)}")
    before = sorted(os.listdir(tmp_path))
    read = ocr.read_pages(scanned(), [1], ExtractConfig())
    assert read == {1: "Contratto di fornitura tra le parti stipulato in Roma il giorno due maggio"}
    assert sorted(os.listdir(tmp_path)) == sorted([*before, "asked"])
    asked = (tmp_path / "asked").read_text()
    assert (asked.startswith("stdin stdout -l ita+eng --dpi 300 tsv") and "P5 2479 3508 255" in asked) or "P5 2480 3509 255" in asked
    metadata, warnings = ocr.remarks(read, ExtractConfig())
    assert metadata == {"ocr": "tesseract 5.9.1 (ita, eng)", "ocr_confidence": 95}
    assert warnings == []


def test_only_the_pages_asked_for_are_read(install: Install) -> None:
    install(says(table([(1, 200, 300, "Una riga di testo")])))
    assert sorted(ocr.read_pages(scanned(pages=3), [3, 1], ExtractConfig())) == [1, 3]


def test_columns_are_read_one_after_the_other_and_cells_row_by_row(install: Install) -> None:
    left = [(1, 100, 300 + 60 * i, f"a{i} parole in una colonna stretta") for i in range(6)]
    right = [(2, 1300, 300 + 60 * i, f"b{i} parole in una colonna stretta") for i in range(6)]
    cells = [(3 + c, 100 + 800 * c, 1200 + 80 * r, f"cella{r}{c}") for c in range(3) for r in range(4)]
    install(says(table(left + right + cells)))
    text = ocr.read_pages(scanned(), [1], ExtractConfig())[1]
    assert text.index("a5") < text.index("b0") < text.index("b5") < text.index("cella00")
    assert "| cella10 | cella11 | cella12 |" in text


def test_a_justified_line_stays_whole(install: Install) -> None:
    rows = [HEAD]
    for number, step in enumerate((300, 420, 310, 400)):
        for place, word in enumerate("quattro parole ben distanziate".split()):
            rows.append(f"5\t1\t1\t1\t{number}\t{place}\t{200 + step * place}\t{300 + 60 * number}\t150\t40\t90\t{word}{number}")
    install(says("\n".join(rows) + "\n"))
    text = ocr.read_pages(scanned(), [1], ExtractConfig())[1]
    assert "|" not in text
    assert text.split()[:4] == ["quattro0", "parole0", "ben0", "distanziate0"]


def test_running_heads_are_left_out_and_a_page_that_repeats_another_is_not(install: Install) -> None:
    lines = [(1, 200, 40, "Comune di Prova"), (2, 200, 1500, "Il testo della pagina")]
    install(says(table(lines)))
    assert set(ocr.read_pages(scanned(pages=3), [1, 2, 3], ExtractConfig()).values()) == {"Il testo della pagina"}
    install(says(table(lines[:1])))
    assert set(ocr.read_pages(scanned(pages=3), [1, 2, 3], ExtractConfig()).values()) == {"Comune di Prova"}


def test_rulings_read_as_strokes_are_no_words(install: Install) -> None:
    install(says(table([(1, 200, 300, "| una parola — ___ | un'altra ]")])))
    assert ocr.read_pages(scanned(), [1], ExtractConfig())[1] == "una parola un'altra"


def test_a_page_that_reads_badly_is_turned_as_the_engine_says_and_the_better_reading_kept(install: Install) -> None:
    bad, good = table([(1, 200, 300, "ouɹnɥ ʇsǝʇ oʇxǝʇ")], 40.0), table([(1, 200, 300, "testo diritto di prova")], 92.0)
    install(
        "upright = int(image.split()[1]) < int(image.split()[2])\n"
        "if 'osd' in options:\n    print('Page number: 0\\nOrientation in degrees: 270\\nRotate: 90\\nScript: Latin')\n"
        f"else:\n    print({good!r} if not upright else {bad!r}, end='')"
    )
    read = ocr.read_pages(scanned(width=595, height=842), [1], ExtractConfig())
    assert read == {1: "testo diritto di prova"}


def test_a_skewed_line_is_one_line(install: Install) -> None:
    rows = [HEAD]
    for number in range(4):
        for place, word in enumerate("questa riga pende verso il basso della pagina".split()):
            rows.append(
                f"5\t1\t1\t1\t{number}\t{place}\t{200 + 250 * place}\t{300 + 60 * number + 12 * place}\t200\t40\t90\t{word}{number}"
            )
    install(says("\n".join(rows) + "\n"))
    words = ocr.read_pages(scanned(), [1], ExtractConfig())[1].split()
    assert [word[-1] for word in words] == sorted(word[-1] for word in words)
    assert len(words) == 32


def test_doubtful_text_is_warned_of_and_noise_is_no_text(install: Install) -> None:
    install(says(table([(1, 200, 300, "parole poco leggibili")], 50.0)))
    read = ocr.read_pages(scanned(), [1], ExtractConfig())
    assert ocr.remarks(read, ExtractConfig()) == ({"ocr": "tesseract 5.9.1 (ita, eng)", "ocr_confidence": 50}, ["low_ocr_confidence"])
    install(says(table([(1, 200, 300, "ii; ~,. lI")], 20.0)))
    assert ocr.read_pages(scanned(), [1], ExtractConfig()) == {1: ""}


def test_a_missing_language_is_warned_of(install: Install) -> None:
    install(says(table([(1, 200, 300, "some words")])), "eng osd")
    result = ocr.read_image(picture(), "image", ExtractConfig())
    assert result.text == "some words"
    assert result.warnings == ["ocr_language_missing: ita"]


def test_a_page_the_engine_fails_on_is_left_out(install: Install) -> None:
    install("sys.exit(1)")
    assert ocr.read_pages(scanned(), [1], ExtractConfig()) == {}


def test_an_image_the_engine_fails_on_waits(install: Install) -> None:
    install("sys.exit(1)")
    assert ocr.read_image(picture(), "image", ExtractConfig()).problem == "needs_ocr"


def test_what_repeats_on_a_page_stays(install: Install) -> None:
    lines = [(block, 200, 300 * block, text) for block, text in enumerate(["Prima domanda", "nessuna", "Seconda", "nessuna", "12"], 1)]
    install(says(table(lines)))
    assert ocr.read_pages(scanned(), [1], ExtractConfig())[1].split() == "Prima domanda nessuna Seconda nessuna 12".split()


def test_a_page_on_its_side_is_turned_however_well_it_reads(install: Install) -> None:
    rows = [HEAD, *(f"5\t1\t1\t1\t{n}\t1\t{300 + 60 * n}\t300\t40\t200\t96\tparola" for n in range(4))]
    install(
        "if 'osd' in options:\n    print('Rotate: 90')\n"
        f"elif int(image.split()[1]) > int(image.split()[2]):\n    {says(table([(1, 200, 300, 'testo diritto')]))}\n"
        f"else:\n    print({chr(10).join(rows)!r})"
    )
    assert ocr.read_pages(scanned(), [1], ExtractConfig()) == {1: "testo diritto"}


def test_an_engine_that_hangs_is_ended(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    install("import time\ntime.sleep(60)")
    monkeypatch.setattr(tesseract, "_SECONDS", 0.5)
    with pytest.raises(Circumstance) as caught:
        ocr.read_pages(scanned(), [1], ExtractConfig())
    assert caught.value.reason == "deadline"


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "BMP", "WEBP", "GIF"])
def test_image_formats(install: Install, kind: str) -> None:
    install(says(table([(1, 20, 30, "testo di una immagine")])))
    result = extracted(ExtractConfig(), picture(kind, (400, 300)), "image")
    assert (result.text, result.extractor, result.pages) == ("testo di una immagine", "tesseract", 1)
    assert decide(ExtractConfig(), as_measurements(result, ExtractConfig())).status == "kept"


def test_the_pages_of_a_tiff_are_read_up_to_the_limit(install: Install) -> None:
    install(says(table([(1, 20, 30, "una pagina")])))
    pages = [Image.new("1", (400, 300), 1) for _ in range(3)]
    result = ocr.read_image(picture("TIFF", (400, 300), save_all=True, append_images=pages), "image", ExtractConfig(ocr_pages=3))
    assert (result.pages, result.page_chars) == (4, [10, 10, 10])
    assert "pages_left_out: 4" in result.warnings


@pytest.mark.parametrize("mode", ["1", "P", "RGBA", "LA", "CMYK", "I;16", "F"])
def test_every_kind_of_pixel_becomes_grey_on_white(mode: str) -> None:
    image = Image.new(mode, (3000, 20))
    assert images.prepared(image).mode == "L"


def test_what_is_transparent_is_white() -> None:
    assert images.prepared(Image.new("RGBA", (3000, 20), (0, 0, 0, 0))).getextrema() == (255, 255)


def test_a_photograph_is_turned_as_its_exif_data_say(install: Install, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    install(f"open({str(tmp_path / 'asked')!r}, 'wb').write(image[:20])\n{says(table([(1, 20, 30, 'testo')]))}")
    ocr.read_image(picture("JPEG", (2400, 1200), exif=exif), "image", ExtractConfig())
    assert (tmp_path / "asked").read_bytes().startswith(b"P5 1200 2400 255")


def test_a_small_image_is_enlarged_and_a_huge_one_reduced() -> None:
    assert images.prepared(Image.new("L", (800, 600))).size == (1600, 1200)
    wide = images.prepared(Image.new("L", (12_000, 5_000)))
    assert wide.width * wide.height <= 30_100_000


def test_an_image_that_would_fill_the_memory_is_refused_unopened(install: Install) -> None:
    install(says(HEAD))
    header = b"\x89PNG\r\n\x1a\n" + b"\0\0\0\rIHDR" + (50_000).to_bytes(4, "big") * 2 + b"\x08\0\0\0\0"
    import zlib

    bomb = header + zlib.crc32(header[12:]).to_bytes(4, "big") + b"\0\0\0\0IDAT" + zlib.crc32(b"IDAT").to_bytes(4, "big")
    with pytest.raises(Verdict) as caught:
        ocr.read_image(bomb, "image", ExtractConfig())
    assert caught.value.reason == "image_bomb"


@pytest.mark.parametrize("data", [picture()[:200], b"\x89PNG\r\n\x1a\n" + bytes(40)])
def test_a_damaged_image_is_malformed(install: Install, data: bytes) -> None:
    install(says(HEAD))
    with pytest.raises(Verdict) as caught:
        ocr.read_image(data, "image", ExtractConfig())
    assert caught.value.reason in ("malformed", "unsupported")


def test_an_image_without_legible_text_has_no_text(install: Install) -> None:
    install(says(HEAD + "\n"))
    result = ocr.read_image(picture(), "image", ExtractConfig())
    assert decide(ExtractConfig(), as_measurements(result, ExtractConfig())).reason == "no_text"
