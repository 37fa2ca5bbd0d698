"""The table of a chaos run: a row a fault, and what to do where a promise was broken."""

from collections import Counter
from collections.abc import Mapping

from rich.console import Console
from rich.table import Table

from login_pipeline_tests.chaos.campaign import Outcome

_MUST_BE_ZERO = {"left", "wrong", "leaks", "lost", "twice"}
# Of the table where nobody watches: a log has no width of its own.
WIDTH = 132
EXAMPLES = 5


def show(outcomes: Mapping[str, Outcome | Exception], *, seed: str, cycles: int, seconds: float) -> None:
    """Prints the table, its total, and how to repeat the campaigns that failed."""
    figures = {name: _figures(outcome) for name, outcome in outcomes.items() if isinstance(outcome, Outcome)}
    totals: Counter[str] = Counter()
    for row in figures.values():
        totals.update(row)
    table = Table("fault", show_footer=True)
    table.columns[0].footer = f"total, in {seconds / 60:.0f} min"
    for column, total in totals.items():
        table.add_column(column, _cell(column, total), justify="right")
    for name, row in figures.items():
        table.add_row(name, *(_cell(*each) for each in row.items()))
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=WIDTH)
    console.print(table)
    for name, outcome in outcomes.items():
        for line in what_went_wrong(outcome):
            console.print(f"{name}: {line}", soft_wrap=True)
        if not (isinstance(outcome, Outcome) and outcome.passed):
            console.print(
                f'repeat it: python -m login_pipeline_tests.chaos --seed {seed} --cycles {cycles} --fault "{name}"'
            )
    console.print(f"seed {seed}")


def what_went_wrong(outcome: Outcome | Exception) -> list[str]:
    """A line for each promise that was not kept; empty when all were."""
    if isinstance(outcome, Exception):
        return [f"did not finish: {outcome!r}"]
    lines = [f"{what}: {', '.join(ids[:EXAMPLES])}" for what, ids in outcome.account.examples.items()]
    lines += [f"personal data {count} times in {place}" for place, count in outcome.leaks.items()]
    if not outcome.drained:
        lines.append("the queue was not empty in time")
    if not outcome.passed:
        lines += [f"a run said: {sentence}" for sentence in dict.fromkeys(outcome.failures)]
    return lines


def _figures(outcome: Outcome) -> dict[str, int]:
    """By column, in their order."""
    account = outcome.account
    return {
        "cycles": outcome.cycles,
        "killed": outcome.kills,
        "sent": account.sent,
        "loaded": account.loaded,
        "quarantined": account.quarantined,
        "copies": account.copies,
        "left": account.waiting,
        "wrong": account.wrong,
        "leaks": sum(outcome.leaks.values()),
        "lost": account.lost,
        "twice": account.twice,
    }


def _cell(column: str, count: int) -> str:
    return f"[bold red]{count}[/]" if count and column in _MUST_BE_ZERO else str(count)
