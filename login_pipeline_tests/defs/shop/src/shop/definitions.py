from pathlib import Path

import dagster as dg

from login_pipeline.defs import login_definitions


@dg.definitions
def defs() -> dg.Definitions:
    shop = dg.load_from_defs_folder(path_within_project=Path(__file__).parent)
    return dg.Definitions.merge(shop, login_definitions(asset_prefix="auth"))
