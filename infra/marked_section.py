"""A part of a page that is written from the code, between two comments."""

import re
from pathlib import Path


def replace_section(page: Path, name: str, text: str) -> str:
    """The page with the section of this name written anew."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    between = re.compile(f"{re.escape(begin)}.*{re.escape(end)}", flags=re.DOTALL)
    return between.sub(lambda _: f"{begin}\n\n{text}\n\n{end}", page.read_text())
