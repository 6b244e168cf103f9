"""What `make sites` found, as Markdown: which step works on which site, and why one does not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pytest_hpcregistry.lab.site import Site

from .walk import FAILED, LEFT_OUT, NO, YES, Done

HEAD = """\
# Sites

What works on which kind of cluster. `make sites` brings each site of the lab up (`hpc-container-manager lab sites`),
takes the same steps on it and writes this page; nobody writes it by hand.

- **yes**: the step did all that it says, on every machine.
- **no**: it stopped with the words that stand below the table, on the machines that they concern.
- **-**: not tried, since setup refuses such a site.
- **?**: nobody has walked there yet.

"""
UNKNOWN = "?"
WORST = (FAILED, NO, LEFT_OUT, YES)


def verdicts(done: Sequence[Done]) -> dict[str, str]:
    """Each step's verdict, in their order; of one that was taken twice the worse."""
    found: dict[str, str] = {}
    for one in done:
        found[one.step] = min(one.verdict, found.get(one.step, one.verdict), key=WORST.index)
    return found


def table(walked: Mapping[str, Sequence[Done]]) -> list[list[str]]:
    """The matrix, its first row a heading: a row for each site, a column for each step."""
    rows = {name: verdicts(done) for name, done in walked.items()}
    columns = list(dict.fromkeys(step for row in rows.values() for step in row))
    return [["site", *columns], *([name, *(row.get(step, UNKNOWN) for step in columns)] for name, row in rows.items())]


def page(walked: Mapping[str, Sequence[Done]], sites: Mapping[str, Site]) -> str:
    """docs/sites.md."""
    heading, *rows = table(walked)
    lines = [" | ".join(row) for row in (heading, ["---"] * len(heading), *rows)]
    text = HEAD + "".join(f"| {line} |\n" for line in lines)
    for name, done in walked.items():
        text += f"\n## {name}\n\n{sites[name].about}\n"
        reasons = dict.fromkeys((one.step, one.verdict, one.why) for one in done if one.why)
        text += "".join(f"\n- **{step}**: {verdict}: `{why}`" for step, verdict, why in reasons)
        text += "\n" if reasons else ""
    return text
