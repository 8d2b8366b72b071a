"""Makes the reference models `jina-bert-v2` and `jina-bert-v3`: random weights, and what llama.cpp makes of some texts.

    python3 -m venv venv && venv/bin/pip install numpy gguf llama-cpp-python
    venv/bin/python tests/golden/jina.py

Vectors are llama.cpp's, which rounds GELU to halves and approximates it with tanh.
"""

import json
import pathlib

import gguf
import llama_cpp
import numpy

HERE = pathlib.Path(__file__).parent / "models"
# Six heads: not a power of two, where the slopes of ALiBi are made in another way.
WIDTH, HEADS, HIDDEN, LAYERS, CONTEXT = 48, 6, 64, 2, 256
WORDS = "the king had a daughter who was fair and he loved her more than all gold".split()
TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"▁{word}" for word in WORDS), "s", "er", "▁,", "▁."]
TEXTS = ["the king", "a daughter , fair and loved .", " ".join(WORDS * 9)]


def weights(random, *shape):
    return (random.standard_normal(shape) * 2 / shape[-1] ** 0.5).astype(numpy.float32)


def write(path, arch, pre, fused_gate):
    random = numpy.random.default_rng(7)
    writer = gguf.GGUFWriter(path, arch)
    writer.add_name(f"random {arch}")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(HIDDEN)
    writer.add_head_count(HEADS)
    writer.add_layer_norm_eps(1e-12)
    writer.add_causal_attention(False)
    writer.add_pooling_type(gguf.PoolingType.MEAN)
    writer.add_tokenizer_model("bert")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(TOKENS)
    writer.add_token_types([3] * 5 + [1] * (len(TOKENS) - 5))
    writer.add_token_type_count(2)
    for name, token in (("pad", 0), ("unk", 1), ("sep", 3), ("mask", 4), ("bos", 2), ("eos", 3)):
        getattr(writer, f"add_{name}_token_id")(token)

    def linear(name, n_in, n_out, bias=True):
        writer.add_tensor(f"{name}.weight", weights(random, n_out, n_in))
        if bias:
            writer.add_tensor(f"{name}.bias", weights(random, n_out))

    def norm(name):
        writer.add_tensor(f"{name}.weight", 1 + weights(random, WIDTH))
        writer.add_tensor(f"{name}.bias", weights(random, WIDTH))

    writer.add_tensor("token_embd.weight", weights(random, len(TOKENS), WIDTH))
    writer.add_tensor("token_types.weight", weights(random, 2, WIDTH))
    norm("token_embd_norm")
    for layer in (f"blk.{i}" for i in range(LAYERS)):
        if arch == "jina-bert-v2":
            for part in ("q", "k", "v"):
                linear(f"{layer}.attn_{part}", WIDTH, WIDTH)
            gate, up = weights(random, HIDDEN, WIDTH), weights(random, HIDDEN, WIDTH)
            if fused_gate:
                writer.add_tensor(f"{layer}.ffn_up.weight", numpy.concatenate([gate, up]))
            else:
                writer.add_tensor(f"{layer}.ffn_gate.weight", gate)
                writer.add_tensor(f"{layer}.ffn_up.weight", up)
        else:
            linear(f"{layer}.attn_qkv", WIDTH, 3 * WIDTH)
            linear(f"{layer}.ffn_up", WIDTH, HIDDEN)
        linear(f"{layer}.attn_output", WIDTH, WIDTH)
        linear(f"{layer}.ffn_down", HIDDEN, WIDTH)
        norm(f"{layer}.attn_output_norm")
        norm(f"{layer}.layer_output_norm")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def vectors(path):
    model = llama_cpp.Llama(str(path), embedding=True, n_ctx=CONTEXT, n_batch=CONTEXT, n_ubatch=CONTEXT, verbose=False)
    prompts = [{"text": text, "ids": model.tokenize(text.encode(), add_bos=True)} for text in TEXTS]
    return prompts, numpy.array(model.embed(TEXTS, normalize=True), dtype=numpy.float32)


def make(arch, pre, variants):
    folder = HERE / arch
    folder.mkdir(exist_ok=True)
    made = {}
    for variant in variants:
        path = folder / f"model-{variant}.gguf"
        write(path, arch, pre, fused_gate="fused" in variant)
        made[variant] = vectors(path)
    prompts, expected = made[variants[0]]
    assert all(numpy.abs(rows - expected).max() < 1e-5 for _, rows in made.values())
    expected.tofile(folder / "embedding.f32")
    facts = {"embeddings": "embedding.f32", "rows": len(TEXTS), "dim": WIDTH}
    record = {
        "format": "golden-embedding-1",
        "name": arch,
        "arch": arch,
        "reference": f"llama.cpp of llama-cpp-python {llama_cpp.__version__}",
        "n_embd": WIDTH,
        "prompts": prompts,
        "variants": {variant: {"gguf": f"model-{variant}.gguf", **facts} for variant in variants},
    }
    (folder / "expected.json").write_text(json.dumps(record) + "\n")


make("jina-bert-v2", "jina-v2-en", ["f32", "fused-f32"])
make("jina-bert-v3", "bert-bge", ["f32"])
