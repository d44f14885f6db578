"""Files that are there as a whole, or not at all."""

from pathlib import Path


def write_whole(path: Path, content: str, mode: int) -> None:
    """Write a file under another name, which it leaves when it is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.new")
    draft.unlink(missing_ok=True)
    draft.touch(mode, exist_ok=False)
    draft.write_text(content)
    draft.rename(path)
