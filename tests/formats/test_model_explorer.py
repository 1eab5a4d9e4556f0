"""Files for Model Explorer: ids agree, edges lead to nodes, modules are nested."""

from __future__ import annotations

import json

from edgeseg.formats.model_explorer import GRADIENT, Node, graph_record, values_record

NODES = (
    Node("Conv", "encoder.0", 2.5, (), {"layer": "a", "computed in": "f32"}),
    Node("Reorder", "", 0.5, (0,), {"layer": "b"}),
    Node("Add", "head", 1.0, (1, 0), {"layer": "c"}),
)


def test_a_graph_is_what_model_explorer_takes_for_one() -> None:
    record = json.loads(json.dumps(graph_record("net", NODES)))
    assert set(record) == {"label", "graphs"}
    (graph,) = record["graphs"]
    assert [node["id"] for node in graph["nodes"]] == ["0", "1", "2"]
    assert [node["namespace"] for node in graph["nodes"]] == ["encoder/0", "", "head"]
    assert graph["nodes"][0]["attrs"] == [
        {"key": "layer", "value": "a"},
        {"key": "computed in", "value": "f32"},
    ]
    edges = [
        (edge["sourceNodeId"], edge["targetNodeInputId"])
        for edge in graph["nodes"][2]["incomingEdges"]
    ]
    assert edges == [("1", "0"), ("0", "1")]


def test_values_belong_to_the_nodes_of_that_graph() -> None:
    graph = graph_record("net", NODES)["graphs"][0]
    (data,) = (values_record("milliseconds", NODES)[graph["id"]],)
    assert data["name"] == "milliseconds"
    assert {key: one["value"] for key, one in data["results"].items()} == {
        node["id"]: value for node, value in zip(graph["nodes"], (2.5, 0.5, 1.0), strict=True)
    }
    stops = [one["stop"] for one in data["gradient"]]
    assert stops == sorted(stops)
    assert (stops[0], stops[-1]) == (0, 1)
    assert all(len(colour) == 7 for _, colour in GRADIENT)  # names and #rrggbb only
