"""The site's pages that lie outside docs/, and links, which are written for the repository, mended for the site."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

_LINK = re.compile(r"\]\((?!https?:|mailto:|#)([^)\s#]+)")
_CARDS = "msdeaot_tracker/weights"


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    root = Path(config.config_file_path).parent
    outside = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", *_cards(root)]
    for source in outside:
        content = mend_links((root / source).read_text(encoding="utf-8"), source)
        files.append(File.generated(config, _place(source), content=content))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    return markdown if page.file.generated_by else mend_links(markdown, f"docs/{page.file.src_uri}")


def mend_links(markdown: str, source: str) -> str:
    """source: the file's path from the repository's top."""

    def mend(match: re.Match[str]) -> str:
        target = _place(posixpath.normpath(posixpath.join(posixpath.dirname(source), match[1])))
        return f"]({posixpath.relpath(target, posixpath.dirname(_place(source)) or '.')}"

    return _LINK.sub(mend, markdown)


def _cards(root: Path) -> list[str]:
    return sorted(path.relative_to(root).as_posix() for path in (root / _CARDS).glob("*.md"))


def _place(source: str) -> str:
    """Of a file of the repository, in the site."""
    if source == "README.md":
        return "index.md"
    if source.startswith(f"{_CARDS}/"):
        return source.replace(_CARDS, "cards", 1)
    return source.removeprefix("docs/")
