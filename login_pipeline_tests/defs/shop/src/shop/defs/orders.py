import dagster as dg


@dg.asset
def orders() -> list[int]:
    return [1, 2, 3]


@dg.asset(deps=[dg.AssetKey(["auth", "user_logins_table"])])
def orders_per_login(orders: list[int], sqs: dg.ResourceParam[str]) -> int:
    return len(orders) * len(sqs)


@dg.asset_check(asset=orders)
def orders_are_there(orders: list[int]) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=bool(orders))
