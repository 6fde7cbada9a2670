"""What is checked of the built pages: their links, that they need no network, that all is told."""

from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import facility
from facility import analysis

LOADED = {"script": "src", "img": "src", "iframe": "src", "link": "href", "source": "src"}
"""What a browser fetches by itself, and where it stands."""


class Page(HTMLParser):
    """The links, the anchors and what is loaded of one page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.loaded: list[str] = []
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what a tag says."""
        found = dict(attrs)
        self.anchors |= {value for key in ("id", "name") if (value := found.get(key))}
        if tag == "a" and (link := found.get("href")):
            self.links.append(link)
        if (key := LOADED.get(tag)) and (address := found.get(key)):
            self.loaded.append(address)


def problems(folder: Path) -> Iterator[str]:
    """Yield what is wrong with the pages in a folder, in a sentence each."""
    found = sorted(folder.rglob("*.html"))
    # The theme has a template there, which is no page.
    pages = {path: Page(path) for path in found if "_static" not in path.parts}
    for path, page in pages.items():
        here = path.relative_to(folder)
        for link in dict.fromkeys([*page.links, *page.loaded]):
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                if link in page.loaded:
                    yield f"{here} loads {link}, and a facility has no internet"
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if target.is_dir():
                target /= "index.html"
            if not target.exists():
                yield f"{here}: {link} leads nowhere"
            elif parts.fragment and target in pages:
                anchors = pages[target].anchors
                if unquote(parts.fragment) not in anchors:
                    yield f"{here}: {link} names a place that is not in that page"
    told = {anchor for page in pages.values() for anchor in page.anchors}
    for module in (facility, analysis):
        for name in module.__all__:
            # Errors have a page of their own.
            if not {f"{module.__name__}.{name}", f"facility.errors.{name}"} & told:
                yield f"{module.__name__}.{name} is public, and no page describes it"
