"""Image files to pages that an OCR engine reads well: upright, grey on white, of a fitting size."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from corpus.outcome import Verdict
from extractors.tesseract import DPI

if TYPE_CHECKING:
    from PIL.Image import Image

PIXELS = 30_000_000  # given to the engine: larger pages are scaled down (A4 at 300 dpi has 8.7 million)
_SMALL = 2_000  # pixels of the longer side: smaller images are enlarged, their letters are below what the engine can read
_BOMB = 150_000_000  # pixels of an image (A0 at 300 dpi has 139 million)
_FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "WEBP", "GIF", "PPM")


def frames(data: bytes) -> Iterator[tuple[int, Image]]:
    """Pages of an image file, upright as its EXIF data say, one after the other, each with how many there are. Raises Verdict."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    Image.init()
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            count = getattr(image, "n_frames", 1) if image.format == "TIFF" else 1
            for number in range(count):
                image.seek(number)
                if image.width * image.height > _BOMB:
                    raise Image.DecompressionBombError
                yield count, ImageOps.exif_transpose(image)
    except Image.DecompressionBombError as error:
        raise Verdict("image_bomb", f"it has more than {_BOMB // 1_000_000} million pixels") from error
    except UnidentifiedImageError as error:
        raise Verdict("unsupported", "an image in a format that is not read here: save it as PNG, JPEG or TIFF") from error
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise Verdict("malformed", "the image is damaged or cut short") from error


def prepared(image: Image) -> Image:
    """Grey on white, of a size that the engine reads well."""
    from PIL import Image as pil

    if "transparency" in image.info or image.mode in ("RGBA", "LA", "PA"):
        image = image.convert("RGBA")
        white = pil.new("RGBA", image.size, "white")
        image = pil.alpha_composite(white, image)
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        extrema: Any = image.convert("F").getextrema()
        low, high = extrema
        image = image.convert("F").point(lambda value: (value - low) * (255.0 / max(high - low, 1.0)))
    image = image.convert("L")
    dpi = float((image.info.get("dpi") or (0,))[0] or 0)
    factor = 2.0 if max(image.size) < _SMALL else DPI / dpi if 400 <= dpi <= 2400 else 1.0
    factor = min(factor, (PIXELS / (image.width * image.height)) ** 0.5)
    return image.resize((max(round(image.width * factor), 1), max(round(image.height * factor), 1))) if factor != 1.0 else image
