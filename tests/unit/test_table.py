"""Tables and texts."""

from facility.table import Table, Text

TABLE = Table(("pool", "workers"), (("cpu <1>", 3), ("gpu", None), ("arm", True)))


def test_text():
    assert str(TABLE) == "pool     workers\ncpu <1>  3\ngpu      -\narm      yes"
    assert repr(TABLE) == str(TABLE)
    assert str(Table(("a",), (), empty="no pools")) == "no pools"


def test_html_is_escaped():
    assert "<td>cpu &lt;1&gt;</td>" in TABLE._repr_html_()
    assert Table(("a",), (), empty="<none>")._repr_html_() == "<p>&lt;none&gt;</p>"


def test_rows():
    assert next(iter(TABLE)) == {"pool": "cpu <1>", "workers": 3}
    assert len(TABLE) == 3


def test_text_shows_as_it_reads():
    assert repr(Text("two\nlines")) == "two\nlines"
