"""A graph that others made, brought to the form that every target starts from.

That form has one input (1, C, H, W) and one output of probabilities (1, C, H, W), both float32 and
of fixed size, in opset 20, with a name for each node.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...contract import InputContract, OutputContract
from ...errors import UsageError, reason_of
from ...lazy import require
from ..map_sizes import contract_of_maps
from ..onnx import CONTRACT, MODULE, contract_text
from .reading import (
    PURPOSE,
    STANDARD,
    Port,
    choose_output,
    image_input,
    layout_of,
    listing,
    ports,
    read_graph,
    require_one_way,
)

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

OPSET = 20
SCOPES = "pkg.torch.onnx.name_scopes"
# What only moves or resizes values, and what makes probabilities of them.
SHAPING = ("Identity", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Resize", "Cast")
SQUASHING = ("Sigmoid", "Softmax", "HardSigmoid")
TO_LAST, TO_FIRST = (0, 2, 3, 1), (0, 3, 1, 2)


def contract_graph(
    path: Path,
    inputs: InputContract,
    outputs: OutputContract,
    returns: str,
    output: str | int | None,
) -> tuple[ModelProto, OutputContract]:
    """The graph of a file in the form above, and the contract with the size of its maps.

    Args:
        path: The file.
        inputs, outputs: What stands for the graph from now on.
        returns: What the output of the file holds: "probabilities" or "logits".
        output: Which output of the file holds the mask.

    Raises:
        UsageError: The file is refused by `read_graph` or one of the other tests, or does not fit
            the contracts.
    """
    onnx = require("onnx", purpose=PURPOSE)
    model = read_graph(path).model
    source = image_input(model, path)
    target = choose_output(model, output, path)
    layout, channels = layout_of(source, path)
    require_channels(path, source, channels, inputs)
    require_size(path, source, layout, inputs)
    _keep_one_output(model, target.name)
    _fix_input(model, source.name, layout, inputs)
    model = _folded(model, path)
    require_one_way(model, path)
    if returns == "logits":
        _require_logits(model, path)
    model = _in_opset(model, path)
    _name_nodes(model)
    given = ports(model.graph.output)[0]
    map_layout = output_layout(given, layout, outputs, path)
    rows, columns = _map_sizes(given, map_layout)
    if rows is not None and columns is not None:  # else the file's answers tell
        shape = 1, outputs.channels, rows, columns
        outputs = contract_of_maps(shape, inputs, outputs, str(path))
    _rename_ends(model, inputs, outputs)
    _add_ends(model, given, layout, map_layout, inputs, outputs, returns)
    model = _without_identities(model)
    model.metadata_props.add(key=CONTRACT, value=contract_text(inputs, outputs))
    del model.graph.value_info[:]
    try:
        onnx.checker.check_model(model, full_check=True)
    except Exception as error:
        raise UsageError(
            f"{path} cannot be brought to one image of {inputs.height}x{inputs.width} "
            f"({reason_of(error)}). Export it for that size."
        ) from error
    return model, outputs


def require_channels(path: Path, source: Port, channels: int, inputs: InputContract) -> None:
    """Refuse a spec of other images than the file takes."""
    if channels != inputs.channels:
        raise UsageError(
            f"{path} takes images of {channels} channels ({source.text}), and the spec says "
            f"{inputs.channels}. Write input_channels = {channels} there, with {channels} numbers "
            "each in mean and std."
        )


def require_size(path: Path, source: Port, layout: str, inputs: InputContract) -> None:
    """Refuse another size than the file is fixed to."""
    sizes = source.sizes[2:] if layout == "NCHW" else source.sizes[1:3]
    wanted = inputs.height, inputs.width
    if any(size not in (None, side) for size, side in zip(sizes, wanted, strict=True)):
        fixed = "x".join("?" if size is None else str(size) for size in sizes)
        raise UsageError(
            f"{path} is fixed to images of {fixed}, and {wanted[0]}x{wanted[1]} are asked for. "
            "Write that size into the spec, or export the file with free sizes (dynamic_axes)."
        )


def output_layout(given: Port, layout: str, outputs: OutputContract, path: Path) -> str:
    """Where the channels of the mask are: "NCHW", "NHWC", or "NHW" where there is no such axis.

    Raises:
        UsageError: It is no map of as many channels as the contract says.
    """
    sizes, channels = given.sizes, outputs.channels
    if given.element.startswith(("int", "uint", "bool")):
        raise UsageError(
            f"The output of {path} is {given.text}, the numbers of the classes. Name an output "
            "before the ArgMax in the spec, or export the network without it."
        )
    if len(sizes) == 3 and channels == 1:
        return "NHW"
    if len(sizes) == 4:
        is_first, is_last = sizes[1] == channels, sizes[3] == channels
        if is_first and is_last:
            return layout
        if is_first or is_last:
            return "NCHW" if is_first else "NHWC"
    raise UsageError(
        f"The output of {path} is {given.text}, and the spec says channels = {channels}. Correct "
        "channels and classes there, or name another output."
    )


def _require_logits(model: ModelProto, path: Path) -> None:
    """Refuse a mask that a sigmoid or softmax has been over, as a second one would be added.

    Raises:
        UsageError: Names the node.
    """
    made_by = {name: node for node in model.graph.node for name in node.output}
    node = made_by.get(model.graph.output[0].name)
    while node is not None and node.op_type in SHAPING:
        node = made_by.get(node.input[0])
    if node is not None and node.op_type in SQUASHING:
        raise UsageError(
            f"The output of {path} holds probabilities: its last operation is {listing([node])}, "
            'and returns = "logits" in the spec would add it a second time. Write returns = '
            '"probabilities".'
        )


def _keep_one_output(model: ModelProto, name: str) -> None:
    kept = [value for value in model.graph.output if value.name == name]
    del model.graph.output[:]
    model.graph.output.extend(kept)


def _fix_input(model: ModelProto, name: str, layout: str, inputs: InputContract) -> None:
    """Give the input its sizes, and forget those of everything else."""
    weights = {tensor.name for tensor in model.graph.initializer}
    for value in list(model.graph.input):
        if value.name in weights:
            model.graph.input.remove(value)
    first = 1, inputs.channels, inputs.height, inputs.width
    sizes = first if layout == "NCHW" else tuple(first[place] for place in TO_LAST)
    (value,) = model.graph.input
    del value.type.tensor_type.shape.dim[:]
    for size in sizes:
        value.type.tensor_type.shape.dim.add(dim_value=size)
    for output in model.graph.output:
        output.type.tensor_type.ClearField("shape")
    del model.graph.value_info[:]


def _folded(model: ModelProto, path: Path) -> ModelProto:
    """The same with all computed that does not hang on the image's values: sizes, branches."""
    optimizer = require("onnxscript", purpose=PURPOSE).optimizer
    onnx = require("onnx", purpose=PURPOSE)
    try:
        folded = optimizer.optimize(model, onnx_shape_inference=True)
        inferred: ModelProto = onnx.shape_inference.infer_shapes(
            folded, check_type=True, data_prop=True
        )
    except Exception as error:
        raise UsageError(
            f"{path} cannot be brought to a fixed size ({reason_of(error)}). Export it in eval "
            "mode for one size."
        ) from error
    return inferred


def _in_opset(model: ModelProto, path: Path) -> ModelProto:
    """The same in `OPSET`."""
    onnx = require("onnx", purpose=PURPOSE)
    entry = next(entry for entry in model.opset_import if entry.domain in STANDARD)
    if entry.version < OPSET:
        try:
            newer = onnx.version_converter.convert_version(model, OPSET)
        except Exception as error:
            raise UsageError(
                f"{path} does not convert from ONNX opset {entry.version} to {OPSET} "
                f"({reason_of(error)}). Export it with opset_version={OPSET}."
            ) from error
        inferred: ModelProto = onnx.shape_inference.infer_shapes(newer, data_prop=True)
        return inferred
    newer_nodes = [node for node in model.graph.node if not _is_known(onnx, node)]
    if newer_nodes:
        raise UsageError(
            f"{path} is of ONNX opset {entry.version} and has what opset {OPSET} lacks: "
            f"{listing(newer_nodes)}. Export it with opset_version={OPSET}."
        )
    # Between these opsets, operators have learned types, not other sums.
    entry.version = OPSET
    return model


def _is_known(onnx: Any, node: NodeProto) -> bool:
    try:
        schema = onnx.defs.get_schema(node.op_type, OPSET, "")
    except onnx.defs.SchemaError:
        return False
    return all(attribute.name in schema.attributes for attribute in node.attribute)


def _name_nodes(model: ModelProto) -> None:
    """Give each node a name of its own and the module that it is of, where the file tells."""
    known: set[str] = set()
    for index, node in enumerate(model.graph.node):
        module = _module_of(node)
        name = node.name or f"{node.op_type}_{index}"
        while name in known:
            name = f"{name}_{index}"
        known.add(name)
        node.name, node.doc_string = name, ""
        del node.metadata_props[:]
        if module:
            node.metadata_props.add(key=MODULE, value=module)


def _module_of(node: NodeProto) -> str:
    """The torch module of a node: "enc1.conv" of "/enc1/conv/Conv", as torch's older exporter names
    them; the newer one's metadata."""
    import ast

    scopes = {entry.key: entry.value for entry in node.metadata_props}.get(SCOPES, "")
    if scopes:
        try:
            names = ast.literal_eval(scopes)
        except (ValueError, SyntaxError):
            return ""
        return str(names[-2]) if isinstance(names, list) and len(names) > 1 else ""
    parts = [part for part in node.name.split("/") if part]
    return ".".join(parts[:-1]) if node.name.startswith("/") else ""


def _without_identities(model: ModelProto) -> ModelProto:
    onnx_ir = require("onnx_ir", purpose=PURPOSE)
    held = onnx_ir.from_proto(model)
    onnx_ir.passes.common.IdentityEliminationPass()(held)
    proto: ModelProto = onnx_ir.to_proto(held)
    return proto


def _rename_ends(model: ModelProto, inputs: InputContract, outputs: OutputContract) -> None:
    """Take the names of the contracts away from what else has them."""
    taken = {inputs.name, outputs.name}
    for node in model.graph.node:
        for names in (node.input, node.output):
            for index, name in enumerate(names):
                if name in taken:
                    names[index] = f"{name}_of_file"
    for values in (model.graph.input, model.graph.output, model.graph.initializer):
        for value in values:
            if value.name in taken:
                value.name = f"{value.name}_of_file"


def _add_ends(
    model: ModelProto,
    given: Port,
    layout: str,
    map_layout: str,
    inputs: InputContract,
    outputs: OutputContract,
    returns: str,
) -> None:
    """Put before and behind the graph what makes it take and give what the contracts say."""
    ends = _Ends(model)
    own_input, own_output = model.graph.input[0].name, model.graph.output[0].name
    del model.graph.input[:], model.graph.output[:]
    helper = ends.onnx.helper
    float32 = ends.onnx.TensorProto.FLOAT
    # From the last node before the graph to its first.
    value = inputs.name
    before: list[NodeProto] = []
    after: list[NodeProto] = []
    if layout == "NHWC":
        value = ends.make(before, "Transpose", [value], perm=TO_LAST)
    ends.make(before, "Identity", [value], name=own_input)
    value = own_output
    if given.element != "float32":
        value = ends.make(after, "Cast", [value], to=float32)
    if map_layout == "NHW":
        value = ends.make(after, "Unsqueeze", [value, ends.constant("axes_of_mask", [1])])
    if map_layout == "NHWC":
        value = ends.make(after, "Transpose", [value], perm=TO_FIRST)
    rows, columns = _map_sizes(given, map_layout)
    if (rows, columns) != (inputs.height, inputs.width):
        sizes = [1, outputs.channels, inputs.height, inputs.width]
        value = ends.make(
            after, "Resize", [value, "", "", ends.constant("sizes_of_mask", sizes)],
            mode="linear", coordinate_transformation_mode="pytorch_half_pixel",
        )  # fmt: skip
    if returns == "logits":
        is_sigmoid = outputs.channels == 1
        value = (
            ends.make(after, "Sigmoid", [value])
            if is_sigmoid
            else ends.make(after, "Softmax", [value], axis=1)
        )
    ends.make(after, "Identity", [value], name=outputs.name)
    nodes = [*before, *model.graph.node, *after]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    model.graph.input.append(
        helper.make_tensor_value_info(inputs.name, float32, list(inputs.shape))
    )
    shape = [1, outputs.channels, inputs.height, inputs.width]
    model.graph.output.append(helper.make_tensor_value_info(outputs.name, float32, shape))


def _map_sizes(given: Port, map_layout: str) -> tuple[int | None, int | None]:
    sizes = given.sizes
    places = {"NCHW": (2, 3), "NHWC": (1, 2), "NHW": (1, 2)}[map_layout]
    return sizes[places[0]], sizes[places[1]]


class _Ends:
    """Makes nodes whose names are those of nothing else."""

    def __init__(self, model: ModelProto) -> None:
        self.onnx = require("onnx", purpose=PURPOSE)
        self._model = model
        self._count = 0

    def make(
        self, nodes: list[Any], kind: str, inputs: list[str], name: str = "", **settings: Any
    ) -> str:
        """Add a node; returns the name of what it gives, `name` where that is told."""
        self._count += 1
        result = name or f"edgeseg_end_{self._count}"
        node = self.onnx.helper.make_node(
            kind, inputs, [result], name=f"edgeseg_{kind}_{self._count}", **settings
        )
        nodes.append(node)
        return result

    def constant(self, name: str, values: list[int]) -> str:
        """Add whole numbers to the graph."""
        tensor = self.onnx.helper.make_tensor(
            f"edgeseg_{name}", self.onnx.TensorProto.INT64, [len(values)], values
        )
        self._model.graph.initializer.append(tensor)
        return str(tensor.name)
