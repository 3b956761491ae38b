"""Write the README's table of methods from their cards: `python docs/methods_table.py`."""

from __future__ import annotations

import re
from pathlib import Path

from csd_edu import methods

README = Path(__file__).resolve().parents[1] / "README.md"
PLACE = re.compile(r"\| method \| what it does \|\n(\|.*\n)+")


def table() -> str:
    """Return the table in Markdown: a row for each method of the kit."""
    rows = ["| method | what it does |", "| --- | --- |"]
    for name, method in methods.NAMED.items():
        card = methods.card_of(method)
        assert card is not None  # else it would not be in NAMED
        source = f" ({card.source})" if card.source else ""
        control = f" A control: {card.control}." if card.control else ""
        rows.append(f"| `{name}` | **{card.title}**{source}. {card.sentence}{control} |")
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    README.write_text(PLACE.sub(lambda _: table(), README.read_text(encoding="utf-8")), encoding="utf-8")
