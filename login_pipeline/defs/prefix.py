"""The runs on assets with a prefix, beside jobs of the same name in the Dagster instance."""

from collections.abc import Sequence
from typing import Any

import dagster as dg

PREFIX_TAG = "login_pipeline/asset_prefix"


def run_tags(prefix: Sequence[str]) -> dict[str, str]:
    """The tags of the runs on assets with this prefix; none without one."""
    return {PREFIX_TAG: "/".join(prefix)} if prefix else {}


def runs_of(job_name: str, prefix: Sequence[str], **further: Any) -> dg.RunsFilter:
    """The runs of a job on assets with this prefix, as `further` narrows them down."""
    return dg.RunsFilter(job_name=job_name, tags=run_tags(prefix), **further)
