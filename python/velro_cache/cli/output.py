"""Text for people: coloured on a terminal where ``rich`` is installed, plain elsewhere."""

import sys

__all__ = ["show"]


def show(text: str) -> None:
    """Print a text; the words OK and MISS stand out where colours are to be had.

    Args:
        text: What to print.
    """
    try:
        from rich.console import Console
        from rich.highlighter import RegexHighlighter
        from rich.theme import Theme
    except ImportError:
        sys.stdout.write(text + "\n")
        return

    class Verdicts(RegexHighlighter):
        """Finds the verdicts in a text."""

        base_style = "verdict."
        highlights = (r"(?P<ok>\bOK\b|^all targets met$)", r"(?P<miss>\bMISS\b|^not all .*$)")

    theme = Theme({"verdict.ok": "bold green", "verdict.miss": "bold red"})
    # Rich itself leaves colours out where the output is not a terminal.
    console = Console(highlighter=Verdicts(), theme=theme, soft_wrap=True, markup=False)
    console.print(text)
