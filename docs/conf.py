"""Sphinx' configuration of the documentation, which `make docs` builds."""

import os
import shutil
import sys
from pathlib import Path

from sphinx.application import Sphinx

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from facility import __version__  # noqa: E402
from tools.docs.parts import filled  # noqa: E402

project = "facility"
author = "The facility authors"
copyright = author  # noqa: A001 - Sphinx' name
version = release = __version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]

myst_enable_extensions = ["deflist"]
myst_heading_anchors = 3
nb_execution_mode = "off"  # the tests execute them
# Of a widget what it says without a kernel, and without scripts from the internet.
nb_ipywidgets_js = {}
nb_mime_priority_overrides = [("html", "application/vnd.jupyter.widget-view+json", None)]

# Docstrings name parameters and values in single backticks.
default_role = "code"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_typehints_format = "short"
autodoc_member_order = "bysource"
python_use_unqualified_type_names = True
napoleon_google_docstring = False
napoleon_use_rtype = False
# Types of other packages, whose documentation cannot be asked here, and internal ones of ours.
nitpick_ignore_regex = [
    ("py:.*", r"(?!facility\.).*"),
    ("py:class", r"facility\.analysis\.runner\.arguments\.RunOptions"),
    ("py:class", r"facility\.config\.model\.Config"),
    ("py:class", r"facility\.analysis\.files\.rootfile\.Inspection"),
    ("py:class", r"facility\.analysis\.results\.record\.Receipt"),
    ("py:class", r"facility\.analysis\.validation\.differing\.Tolerance"),
]

html_theme = "pydata_sphinx_theme"
html_title = f"facility {version}"
html_static_path = ["_static"]
html_js_files = ["facility.js"]
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "navbar_align": "left",
    "header_links_before_dropdown": 7,
    "show_toc_level": 2,
    "footer_start": ["copyright"],
    "footer_end": [],
    "secondary_sidebar_items": ["page-toc"],
}


def bring_notebooks(app: Sphinx) -> None:
    """Copy the notebooks to where Sphinx looks for them, as they are or as they were executed."""
    source = Path(os.environ.get("DOCS_NOTEBOOKS", ROOT / "notebooks"))
    target = Path(app.srcdir) / "tutorial"
    target.mkdir(exist_ok=True)
    found = sorted(source.glob("*.ipynb"))
    for stale in set(target.glob("*.ipynb")) - {target / path.name for path in found}:
        stale.unlink()
    for path in found:
        copy = target / path.name
        if not copy.exists() or copy.read_bytes() != path.read_bytes():
            shutil.copyfile(path, copy)


def fill(app: Sphinx, name: str, text: list[str]) -> None:
    """Put what is generated into a page that has a mark for it."""
    if not app.env.doc2path(name).name.endswith(".ipynb"):
        found = filled(text[0])
        if found != text[0]:
            # Made from other files, of whose changes Sphinx learns nothing.
            app.env.note_reread()
        text[0] = found


def setup(app: Sphinx) -> None:
    """Tell Sphinx of both."""
    app.connect("builder-inited", bring_notebooks)
    app.connect("source-read", fill)
