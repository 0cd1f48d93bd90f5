"""Docling's layout and table models, where they are installed on this machine. Looked for, never downloaded.

They are there when their libraries can be imported and their files lie where Docling looks for them: in its artifacts folder
(`docling-tools models download` fills `~/.cache/docling/models`; DOCLING_ARTIFACTS_PATH names another), or in the cache of the
Hugging Face hub. Both models count as one: without the table model tables would be lost.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path

LIBRARIES = ("torch", "torchvision", "transformers", "docling_ibm_models")
_LAYOUT = "docling-project/docling-layout-heron"
_TABLES = "docling-project/docling-models"
_TABLES_REVISION = "v2.3.0"  # which Docling asks the hub for
_NEEDED = (  # repository, revision, and the files without which its model cannot be loaded
    (_LAYOUT, "main", ("config.json", "preprocessor_config.json", "model.safetensors")),
    (_TABLES, _TABLES_REVISION, ("model_artifacts/tableformer/accurate/tm_config.json",)),
)
_SAMPLE = 1 << 20
REMEDY = "pip install 'athanor-furnace[layout]' and docling-tools models download"


@dataclass(frozen=True)
class Weights:
    """Where they lie: Docling's artifacts folder, or None for the cache of the hub; and which they are."""

    artifacts: Path | None
    version: str


def found() -> Weights | None:
    """The models that Docling would use; None when a library or a file is missing."""
    if any(importlib.util.find_spec(library) is None for library in LIBRARIES):
        return None
    from docling.datamodel.settings import settings

    given = settings.artifacts_path
    for folder in [Path(given).expanduser()] if given else [Path(settings.cache_dir).expanduser() / "models"]:
        places = [folder / repository.replace("/", "--") for repository, _, _ in _NEEDED]
        if _complete(places):
            return Weights(folder, _version(tuple(places)))
    if given:
        return None  # Docling looks nowhere else then
    cached = [_cached(repository, revision) for repository, revision, _ in _NEEDED]
    places = [place for place in cached if place]
    return Weights(None, _version(tuple(places))) if len(places) == len(_NEEDED) and _complete(places) else None


def offline() -> None:
    """From now on nothing in this process asks the hub for anything."""
    from huggingface_hub import constants

    constants.HF_HUB_OFFLINE = True


def _complete(places: list[Path]) -> bool:
    return all((place / name).is_file() for place, (_, _, names) in zip(places, _NEEDED, strict=True) for name in names)


def _cached(repository: str, revision: str) -> Path | None:
    """The folder of a snapshot in the cache of the hub."""
    try:
        from huggingface_hub import snapshot_download

        return Path(snapshot_download(repository, revision=revision, local_files_only=True))
    except (ImportError, OSError, ValueError):  # what the hub raises for what is not in its cache is an OSError
        return None


@functools.cache
def _version(places: tuple[Path, ...]) -> str:
    """A digest of names, sizes, heads and tails of the files: enough to tell one release from another, and quick."""
    digest = hashlib.sha256()
    for place in places:
        for path in sorted(p for p in place.rglob("*") if p.suffix in (".json", ".safetensors") and ".cache" not in p.parts):
            size = path.stat().st_size
            digest.update(f"{path.relative_to(place)} {size} ".encode())
            with path.open("rb") as file:
                digest.update(file.read(_SAMPLE))
                file.seek(max(0, size - _SAMPLE))
                digest.update(file.read(_SAMPLE))
    return digest.hexdigest()[:16]
