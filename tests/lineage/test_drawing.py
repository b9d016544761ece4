"""Lineage drawn: for Mermaid, for Graphviz, and as one page for a browser."""

from __future__ import annotations

import itertools
import os
import re
import shutil
import subprocess
from html.parser import HTMLParser
from typing import Any

import duckdb
import pytest

from sqlml import lineage
from sqlml.catalog.migrations import migrate
from sqlml.lineage.graph import Graph, graph_of
from sqlml.signature import Column, Signature
from sqlml.sql import quote
from tests.lineage.test_lineage_queries import CHURN, deploy

HOSTILE = "<script>alert(\"1\")</script> & 'x' ]] --> end \\ #35; `y`"


@pytest.fixture
def connection() -> Any:
    with duckdb.connect() as made:
        migrate(made)
        made.execute("CREATE TABLE customers (customer_id BIGINT, tenure BIGINT, monthly DOUBLE)")
        made.execute("CREATE VIEW enriched AS SELECT customer_id, tenure, monthly * 2 AS fee FROM customers")
        made.execute("CREATE VIEW basis AS SELECT enriched.*, range AS strange, 1 AS one FROM enriched, range(1)")
        yield made


@pytest.fixture
def graph(connection: Any) -> Graph:
    columns = (*CHURN.columns, Column("strange", "BIGINT"), Column("one", "BIGINT"))
    deploy(connection, "churn", 1, Signature(columns, "classifier", "VARCHAR", ("No", "Yes"), True), "basis")
    return graph_of(connection, "churn")


def boxes(graph: Graph) -> dict[str, tuple[str, ...]]:
    return {f"{b.kind} {b.title}": tuple(row.text for row in b.rows) for b in graph.boxes}


def test_the_graph_leads_from_the_tables_to_the_predictions(graph: Graph) -> None:
    found = boxes(graph)

    assert set(found["table customers"]) == {"customer_id", "tenure", "monthly"}
    assert set(found["view enriched"]) == {"customer_id", "tenure", "fee"}
    assert found["features inputs of churn v1"] == ("tenure", "fee", "strange", "one", "customer_id")
    assert found["predictions churn.predictions_v1"] == ("prediction", "probability_No", "probability_Yes", "error")
    assert {"dataset telco (abc)", "run run1", "version churn v1", "unknown unknown", "constant constant"} <= set(found)
    names = {row.id: f"{b.title}.{row.text}" for b in graph.boxes for row in b.rows}
    steps = {(names.get(link.start, ""), names.get(link.end, "")): link.how for link in graph.links}
    assert steps["customers.monthly", "enriched.fee"] == "monthly * 2"
    assert steps["basis.fee", "inputs of churn v1.fee"] is None


def test_every_box_stands_right_of_what_leads_to_it(graph: Graph) -> None:
    at = {id_: box.layer for box in graph.boxes for id_ in (box.id, *(row.id for row in box.rows))}

    assert graph.links
    assert all(at[link.start] < at[link.end] for link in graph.links)


def test_a_deployment_without_a_source_is_drawn_too(connection: Any) -> None:
    deploy(connection, "alone", 1, CHURN, None, key=())
    graph = graph_of(connection, "alone")

    assert "function alone.predict_v1" in boxes(graph)
    for form in ("mermaid", "dot", "html"):
        assert "alone v1" in lineage.drawn(graph, form).replace("#32;", " ")


class Page(HTMLParser):
    """What a browser would see: tags, addresses that it would fetch, and the texts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.fetched: list[str] = []
        self.open: list[str] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.fetched += [str(value) for name, value in attrs if name in ("src", "href", "xlink:href", "action")]
        if tag not in ("meta", "rect", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in ("rect",):
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_the_page_is_whole_and_fetches_nothing(graph: Graph) -> None:
    text = lineage.drawn(graph, "html")
    page = Page(text)

    assert page.fetched == page.open == []
    assert page.tags.count("script") == page.tags.count("svg") == 1
    assert not re.search(r"https?:|url\(|@import", text)
    assert page.tags.count("path") == len(graph.links)
    assert "monthly * 2" in "".join(page.texts)
    assert "prefers-color-scheme: dark" in text


@pytest.mark.parametrize("form", ["html", "mermaid", "dot"])
def test_names_are_text_and_nothing_else(connection: Any, form: str) -> None:
    connection.execute(f"CREATE TABLE {quote(HOSTILE)} (customer_id BIGINT, {quote(HOSTILE)} DOUBLE)")
    connection.execute(f"CREATE VIEW made AS SELECT customer_id, {quote(HOSTILE)} AS fee FROM {quote(HOSTILE)}")
    deploy(connection, "hostile", 1, Signature((Column("fee", "DOUBLE"),), "regressor", "DOUBLE"), "made")
    plain_text = lineage.drawn(graph_of(connection, "hostile"), form)

    if form == "html":
        assert Page(plain_text).tags.count("script") == 1
    elif form == "mermaid":
        for line in plain_text.splitlines()[1:]:
            assert re.fullmatch(
                r'  (subgraph )?n\d+\["[^"<>`]*"\]|    n\d+\["[^"<>`]*"\]|  end|  n\d+ --> n\d+', line
            ), line
    else:
        strings = re.findall(r'"(?:[^"\\]|\\.)*"', plain_text)
        assert any("alert(\\" in s for s in strings)
        assert "script" not in re.sub(r'"(?:[^"\\]|\\.)*"', "", plain_text)


def test_graphviz_reads_it(graph: Graph) -> None:
    program = shutil.which("dot")
    if program is None:
        assert os.environ.get("CI") != "true", ".ci/packages installs Graphviz, which CI requires"
        pytest.skip("Graphviz is not installed: its dot reads what is drawn")
    drawn = subprocess.run([program, "-Tsvg"], input=lineage.drawn(graph, "dot"), capture_output=True, text=True)

    assert (drawn.returncode, drawn.stderr) == (0, "")


def test_fifty_columns_keep_their_order_and_do_not_lie_on_each_other(connection: Any) -> None:
    columns = tuple(Column(f"f{i}", "DOUBLE") for i in range(50))
    connection.execute(f"CREATE TABLE wide (id BIGINT, {', '.join(f'f{i} DOUBLE' for i in range(50))})")
    connection.execute("CREATE VIEW over AS SELECT * FROM wide")
    deploy(connection, "wide", 1, Signature(columns, "regressor", "DOUBLE"), "over", key=("id",))
    text = lineage.drawn(graph_of(connection, "wide"), "html")

    places = re.findall(r'<rect class="box" x="(\d+)" y="(\d+)" width="(\d+)" height="(\d+)"', text)
    spans = sorted((int(x), int(y), int(y) + int(h)) for x, y, _, h in places)
    assert all(b[0] != a[0] or b[1] > a[2] for a, b in itertools.pairwise(spans))
    straight = re.findall(r'd="M\d+ (\d+)C\d+ \1 \d+ (\d+) \d+ \2"', text)
    assert sum(a == b for a, b in straight) >= 100  # table -> view -> features without a crossing
