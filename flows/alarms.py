"""Alarms: what a run did to a source that somebody should look at before they trust the corpus."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from corpus.workspace import Run
from flows import results

FEW = 20  # documents: a smaller source loses most of its documents too easily


def losses(run: Run, share: float) -> list[dict[str, Any]]:
    """Sources that lost more than this share of their documents as duplicates: {stage, source, in, removed, share}."""
    found = []
    for name, view in results.views(run).items():
        table = view.outcomes()
        if "source" not in table.column_names or not any(reason.endswith("_duplicate") for reason in view.summary()):
            continue
        removed = pc.cast(pc.ends_with(table["reason"], "_duplicate"), pa.int64())
        by_source = pa.table({"source": table["source"], "removed": removed}).group_by("source")
        for row in sorted(by_source.aggregate([("removed", "sum"), ([], "count_all")]).to_pylist(), key=lambda r: str(r["source"])):
            gone, whole = row["removed_sum"], row["count_all"]
            if whole >= FEW and gone > share * whole:
                found.append({"stage": name, "source": row["source"], "in": whole, "removed": gone, "share": round(gone / whole, 4)})
    return found


def sentence(loss: dict[str, Any], workspace: Any) -> str:
    """The alarm in words."""
    return (
        f"{loss['stage']} removed {loss['removed']:,} of the {loss['in']:,} documents of '{loss['source']}' "
        f"({loss['share']:.0%}) as duplicates: athanor inspect -w {workspace} {loss['stage']} --rejected shows of what"
    )
