#!/usr/bin/env python3
"""Makes a folder that transformers.js loads out of a GGUF model of the llama architecture: the same weights as int8 ONNX.

  gguf_to_onnx.py MODEL.gguf FOLDER

The graph is what the hub's newer decoders have: fused attention with rotation, fused norms, a cache that goes in and
out, and logits of as many tokens as are asked for. `quantize_dynamic` then makes products of bytes out of its products
(`DynamicQuantizeLinear`, `MatMulInteger`), with the settings of transformers.js's own conversion script. There is no
tokenizer: the bench feeds tokens.
"""

import json
import pathlib
import sys
import tempfile

import numpy as np
from gguf import GGUFReader, dequantize
from onnx import TensorProto, helper, numpy_helper, save
from onnxruntime.quantization import QuantType, quantize_dynamic

FLOAT, INT64, INT32 = TensorProto.FLOAT, TensorProto.INT64, TensorProto.INT32


class Shape:
    """What the file says of its model."""

    def __init__(self, reader):
        architecture = reader.fields["general.architecture"].contents()
        if architecture != "llama":
            sys.exit(f"{architecture}: only llama's graph is made here")

        def get(key):
            return reader.fields[f"llama.{key}"].contents()

        self.layers, self.width, self.hidden = get("block_count"), get("embedding_length"), get("feed_forward_length")
        self.heads, self.kv_heads = get("attention.head_count"), get("attention.head_count_kv")
        self.epsilon, self.theta, self.positions = get("attention.layer_norm_rms_epsilon"), get("rope.freq_base"), get("context_length")
        self.head = self.width // self.heads


class Graph:
    def __init__(self, reader, shape):
        self.shape = shape
        self.tensors = {tensor.name: tensor for tensor in reader.tensors}
        self.nodes, self.constants = [], []

    def node(self, op, inputs, outputs, domain="", **attributes):
        self.nodes.append(helper.make_node(op, inputs, outputs, name=outputs[0], domain=domain, **attributes))
        return outputs[0]

    def constant(self, name, values):
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def weights(self, name):
        tensor = self.tensors[name]
        return dequantize(tensor.data, tensor.tensor_type).reshape(tensor.shape[::-1]).astype(np.float32)

    def product(self, x, tensor, out):
        return self.node("MatMul", [x, self.constant(tensor, self.weights(tensor).T)], [out])

    def norm(self, x, added, tensor, out):
        """The norm of `x` and `added` together; returns it and their sum."""
        gain, epsilon = self.constant(tensor, self.weights(tensor)), {"epsilon": self.shape.epsilon}
        if added is None:
            return self.node("SimplifiedLayerNormalization", [x, gain], [out], axis=-1, **epsilon), x
        total = f"{out}.sum"
        self.node("SkipSimplifiedLayerNormalization", [x, added, gain], [out, "", "", total], "com.microsoft", **epsilon)
        return out, total

    def build(self):
        shape = self.shape
        lengths, rotation = self.lengths(), self.rotation()
        x = self.node("Gather", [self.constant("embed_tokens", self.weights("token_embd.weight")), "input_ids"], ["embedded"])
        added = None
        for i in range(shape.layers):
            at = f"blk.{i}."
            y, x = self.norm(x, added, f"{at}attn_norm.weight", f"{at}normed")
            q, k, v = (self.product(y, f"{at}attn_{part}.weight", f"{at}{part}") for part in "qkv")
            past, present = ([f"{when}.{i}.{part}" for part in ("key", "value")] for when in ("past_key_values", "present"))
            attended = f"{at}attended"
            # A GGUF file's rows of queries and keys are in the order that rotates neighbours.
            self.node(
                "GroupQueryAttention", [q, k, v, *past, *lengths, *rotation], [attended, *present], "com.microsoft",
                num_heads=shape.heads, kv_num_heads=shape.kv_heads, do_rotary=1, rotary_interleaved=1,
            )  # fmt: skip
            added = self.product(attended, f"{at}attn_output.weight", f"{at}attention")
            y, x = self.norm(x, added, f"{at}ffn_norm.weight", f"{at}normed2")
            gate, up = (self.product(y, f"{at}ffn_{part}.weight", f"{at}{part}") for part in ("gate", "up"))
            self.node("Mul", [gate, self.node("Sigmoid", [gate], [f"{at}sigmoid"])], [f"{at}silu"])
            self.node("Mul", [f"{at}silu", up], [f"{at}gated"])
            added = self.product(f"{at}gated", f"{at}ffn_down.weight", f"{at}ffn")
        y, _ = self.norm(x, added, "output_norm.weight", "hidden")
        head = "output.weight" if "output.weight" in self.tensors else "token_embd.weight"
        self.node("MatMul", [self.kept(y), self.constant("lm_head", self.weights(head).T)], ["logits"])

    def lengths(self):
        """How many tokens there are: before the last one, and in all."""
        one, axis = self.constant("one", np.array([1], np.int64)), self.constant("axis", np.array(1, np.int64))
        count = self.node("ReduceSum", ["attention_mask", one], ["count"], keepdims=0)
        before = self.node("Cast", [self.node("Sub", [count, one], ["count.less"])], ["seqlens_k"], to=INT32)
        width = self.node("Gather", [self.node("Shape", ["attention_mask"], ["mask.shape"]), axis], ["mask.width"])
        return before, self.node("Cast", [width], ["total_sequence_length"], to=INT32)

    def rotation(self):
        frequencies = self.shape.theta ** (-np.arange(0, self.shape.head, 2) / self.shape.head)
        angles = np.outer(np.arange(self.shape.positions), frequencies)
        return [self.constant(name, of(angles).astype(np.float32)) for name, of in (("cos_cache", np.cos), ("sin_cache", np.sin))]

    def kept(self, y):
        """The last tokens of `y`, as many as logits are wanted of."""
        axes, end = self.constant("axes", np.array([1], np.int64)), self.constant("end", np.array([2**62], np.int64))
        shaped = self.node("Reshape", ["num_logits_to_keep", axes], ["keep"])
        return self.node("Slice", [y, self.node("Neg", [shaped], ["keep.from"]), end, axes], ["last"])

    def model(self):
        shape, value = self.shape, helper.make_tensor_value_info
        inputs = [value(name, INT64, ["batch_size", length]) for name, length in (("input_ids", "sequence_length"), ("attention_mask", "total_sequence_length"))]
        inputs.append(value("num_logits_to_keep", INT64, []))
        outputs = [value("logits", FLOAT, ["batch_size", "num_logits_to_keep", None])]
        for i in range(shape.layers):
            for part in ("key", "value"):
                inputs.append(value(f"past_key_values.{i}.{part}", FLOAT, ["batch_size", shape.kv_heads, "past_sequence_length", shape.head]))
                outputs.append(value(f"present.{i}.{part}", FLOAT, ["batch_size", shape.kv_heads, "total_sequence_length", shape.head]))
        graph = helper.make_graph(self.nodes, "decoder", inputs, outputs, self.constants)
        opsets = [helper.make_opsetid("", 14), helper.make_opsetid("com.microsoft", 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def main(gguf, folder):
    reader = GGUFReader(gguf)
    shape = Shape(reader)
    folder = pathlib.Path(folder)
    (folder / "onnx").mkdir(parents=True, exist_ok=True)
    graph = Graph(reader, shape)
    graph.build()
    with tempfile.TemporaryDirectory() as scratch:
        whole = pathlib.Path(scratch) / "model.onnx"
        save(graph.model(), whole)
        quantize_dynamic(whole, folder / "onnx" / "model_quantized.onnx", weight_type=QuantType.QInt8, extra_options={"DefaultTensorType": FLOAT})
    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": int(graph.tensors["token_embd.weight"].shape[1]),
        "hidden_size": shape.width, "intermediate_size": shape.hidden, "num_hidden_layers": shape.layers, "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads, "max_position_embeddings": shape.positions, "rms_norm_eps": shape.epsilon, "rope_theta": shape.theta,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config, indent=1))
    # No token ends a text: the bench asks for a number of tokens.
    (folder / "generation_config.json").write_text("{}")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
