from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch")

from hypothesis import given
from hypothesis import strategies as st

from edgeseg.distillation.graph_flow import graph_flow_loss
from edgeseg.distillation.graphs import Graph, salience_graph, salience_patches, variation_graph
from edgeseg.errors import TrainingError


def ramp(height: int = 4, width: int = 5) -> torch.Tensor:
    """0, 1, 2, ... in reading order: (1, 1, height, width)."""
    return torch.arange(height * width, dtype=torch.float32).view(1, 1, height, width)


def spike(row: int, column: int, value: float = 1.0) -> torch.Tensor:
    """One strong pixel in a 5 x 5 map of zeros: (1, 1, 5, 5)."""
    features = torch.zeros(1, 1, 5, 5)
    features[0, 0, row, column] = value
    return features


def test_patch_lies_about_the_strongest_activation() -> None:
    features = ramp()
    features[0, 0, 1, 2] = 100.0
    # Rows 0..2 and columns 1..3 of the ramp, its middle replaced.
    assert salience_patches(features)[0, 0].tolist() == [1, 2, 3, 6, 100, 8, 11, 12, 13]


def test_patch_at_a_corner_moves_inside() -> None:
    # The strongest is the last pixel: rows 1..3, columns 2..4.
    assert salience_patches(ramp())[0, 0].tolist() == [7, 8, 9, 12, 13, 14, 17, 18, 19]


def test_each_channel_and_image_has_its_own_place() -> None:
    features = torch.cat((spike(1, 1, 5.0), spike(3, 3, 7.0)), dim=1)
    both = torch.cat((features, features.flip(1)))
    patches = salience_patches(both)
    assert patches.shape == (2, 2, 9)
    assert patches[:, :, 4].tolist() == [[5.0, 7.0], [7.0, 5.0]]


def test_first_of_equal_activations_counts() -> None:
    features = spike(1, 1) + spike(3, 3)
    features[0, 0, 0, 0] = 0.5
    assert salience_patches(features)[0, 0].tolist() == [0.5, 0, 0, 0, 1, 0, 0, 0, 0]


def test_map_without_room_for_a_patch_is_refused() -> None:
    with pytest.raises(TrainingError, match=r"2x8 holds no patch of 3x3\. Tap a layer of higher"):
        salience_patches(torch.zeros(1, 1, 2, 8))


def test_vertices_and_edges_by_hand() -> None:
    # Channel 0: 2 in the middle, 1 to its left. Channel 1: 3 in the middle, 4 below it... which
    # is then the strongest: its patch is about the 4, with the 3 above.
    first, second = spike(2, 2, 2.0), spike(2, 2, 3.0)
    first[0, 0, 2, 1] = 1.0
    second[0, 0, 3, 2] = 4.0
    graph = salience_graph(torch.cat((first, second), dim=1))
    assert graph.vertices[0].tolist() == [[0, 0, 0, 1, 2, 0, 0, 0, 0], [0, 3, 0, 0, 4, 0, 0, 0, 0]]
    # 1 + 4, 2 * 4, 9 + 16
    assert graph.edges[0].tolist() == [[5, 8], [8, 25]]


def test_normalised_edges_are_cosines() -> None:
    first, second = spike(2, 2, 2.0), spike(2, 2, 3.0)
    first[0, 0, 2, 1] = 1.0
    second[0, 0, 3, 2] = 4.0
    graph = salience_graph(torch.cat((first, second), dim=1), normalized=True)
    cosine = 8 / (math.sqrt(5) * 5)
    expected = torch.tensor([[1, cosine], [cosine, 1]])
    assert torch.allclose(graph.edges[0], expected)
    assert torch.allclose(graph.vertices[0, 1, :5], torch.tensor([0, 0.6, 0, 0, 0.8]))


def test_variation_is_the_later_graph_minus_the_earlier() -> None:
    first = Graph(torch.full((1, 2, 9), 1.0), torch.full((1, 2, 2), 2.0))
    second = Graph(torch.full((1, 2, 9), 4.0), torch.full((1, 2, 2), 1.0))
    change = variation_graph(first, second)
    assert set(change.vertices.flatten().tolist()) == {3.0}
    assert set(change.edges.flatten().tolist()) == {-1.0}


def layers(*values: float) -> list[torch.Tensor]:
    """One channel whose patch is `value` in the middle and zero elsewhere, a layer each."""
    return [spike(2, 2, value) for value in values]


def test_graph_flow_by_hand() -> None:
    # Vertices change by 2 and 3 in the teacher, 1 and 1 in the student: (2-1)^2 + (3-1)^2 = 5.
    # Edges, squares of the values 1 3 6 and 1 2 3: changes 8, 27 and 3, 5: 5^2 + 22^2 = 509.
    vertices, edges = graph_flow_loss(layers(1, 2, 3), layers(1, 3, 6))
    assert (float(vertices), float(edges)) == (5.0, 509.0)


def test_sums_are_over_entries_and_means_over_images() -> None:
    double = [torch.cat((one, one)) for one in layers(1, 2, 3)]
    teacher = [torch.cat((one, one)) for one in layers(1, 3, 6)]
    vertices, edges = graph_flow_loss(double, teacher)
    assert (float(vertices), float(edges)) == (5.0, 509.0)


def test_normalised_graph_flow_by_hand() -> None:
    # One spike is always the same unit patch. The second student's layer has two equal pixels:
    # (1, 1) / sqrt 2; the second comes as a vertex where the teacher has 0.
    student = layers(1, 1)
    student[1][0, 0, 2, 3] = 1.0
    vertices, edges = graph_flow_loss(student, layers(1, 5), normalized=True)
    half = 1 / math.sqrt(2)
    assert float(vertices) == pytest.approx(((half - 1) ** 2 + half**2) / 9, rel=1e-5)
    assert float(edges) == pytest.approx(0, abs=1e-6)  # a patch's cosine with itself is 1


def test_equal_flow_costs_nothing_wherever_it_happens() -> None:
    moved = [one.roll((1, -1), (2, 3)) for one in layers(1, 4, 2)]
    assert [float(one) for one in graph_flow_loss(moved, layers(1, 4, 2))] == [0.0, 0.0]


@given(st.floats(0.1, 100.0))
def test_normalised_flow_does_not_depend_on_scale(scale: float) -> None:
    generator = torch.Generator().manual_seed(1)
    student = [torch.rand(2, 3, 6, 6, generator=generator) for _ in range(3)]
    teacher = [torch.rand(2, 3, 6, 6, generator=generator) for _ in range(3)]
    plain = graph_flow_loss(student, teacher, normalized=True)
    scaled = graph_flow_loss([scale * one for one in student], teacher, normalized=True)
    for one, other in zip(plain, scaled, strict=True):
        assert float(one) == pytest.approx(float(other), rel=1e-3)


def test_gradient_goes_to_the_student_only() -> None:
    student = [torch.rand(1, 2, 5, 5).requires_grad_() for _ in range(2)]
    teacher = [torch.rand(1, 2, 5, 5).requires_grad_() for _ in range(2)]
    sum(graph_flow_loss(student, teacher)).backward()
    assert all(one.grad is not None and bool(one.grad.any()) for one in student)
    assert all(one.grad is None for one in teacher)


@pytest.mark.parametrize(("ours", "theirs"), [(1, 1), (2, 3)])
def test_flow_needs_two_layers_of_each(ours: int, theirs: int) -> None:
    with pytest.raises(ValueError, match="two or more layers of each network"):
        graph_flow_loss(layers(*[1.0] * ours), layers(*[1.0] * theirs))
